"""Configs found by path or by name."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from toolkit.config.scope import LIBRARIES
from toolkit.errors import UserError

FORMATS = (".py", ".json", ".yaml", ".yml")
CHECKPOINT_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar")  # what a command takes for a checkpoint, not a config


def config_root() -> Path:
    """The folder of the shipped configs: in an installed wheel inside the package, else beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"  # in a checkout a link to the folder beside the package
    return inside.resolve() if inside.is_dir() else package.parent / "configs"


def _names_below(root: Path) -> dict[str, Path]:
    """Config names below `root`, such as `detection/yolo_ms_xs_300e_coco`, and their files."""
    files = sorted(path for path in root.rglob("*.py") if "_base_" not in path.parts and path.name != "__init__.py")
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in files}


def shipped_configs() -> dict[str, Path]:
    """The configs of this toolkit, by name."""
    return _names_below(config_root())


@cache
def _package_configs(package: str) -> dict[str, Path]:
    spec = find_spec(package)  # does not import it
    if spec is None or not spec.submodule_search_locations:
        return {}
    root = Path(spec.submodule_search_locations[0]) / ".mim" / "configs"
    return _names_below(root)


def _pick(name: str, names: Mapping[str, Path]) -> Path | None:
    """`name` among `names`, in full or by the unique last part."""
    if name in names:
        return names[name]
    same_file = [path for full, path in names.items() if full.rsplit("/", 1)[-1] == name]
    return same_file[0] if len(same_file) == 1 else None


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: a path; the name of a shipped config with or without folder and `.py` (`yolo_ms_xs_300e_coco`,
            `detection/yolo_ms_xs_300e_coco`); or one of mmdet's and mmseg's own, as
            `mmdet::retinanet/retinanet_r50_fpn_1x_coco.py` or by its file name.

    Raises:
        UserError: there is none; the message offers the nearest names.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix not in FORMATS:
            raise UserError(f"{name} is not a config: its name ends in {path.suffix!r}, not in {', '.join(FORMATS)}")
        return path
    if path.is_dir():
        raise UserError(f"{name} is a folder; give a config file in it")
    package, _, inner = str(name).rpartition("::")
    wanted = re.sub(r"\.(py|json|ya?ml)$", "", inner.replace("\\", "/")).removeprefix("configs/")
    if package:
        sources = [_package_configs(package)]
    else:
        sources = [shipped_configs(), *(_package_configs(other) for other in LIBRARIES)]
    for names in sources:
        found = _pick(wanted, names)
        if found is not None:
            return found
    last = wanted.rsplit("/", 1)[-1]
    candidates = {full.rsplit("/", 1)[-1]: full for names in reversed(sources) for full in names}
    close = difflib.get_close_matches(last, candidates, 3, 0.6)
    hint = f"; did you mean {' or '.join(candidates[other] for other in close)}?" if close else ""
    raise UserError(f"config {name} does not exist, neither as a file nor as a shipped name{hint}")
