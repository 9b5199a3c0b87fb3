"""Configs: found by path or by name, read with errors that say what is wrong where, and checked for unread keys.

A config is a Python file that mmengine executes, so a config from a stranger is a program from a stranger.
"""

import ast
import difflib
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import DefaultScope, Registry
from mmengine.registry import root as root_registries

import toolkit
from toolkit.errors import UserError
from toolkit.registry import known_names

PACKAGES = ("mmdet", "mmseg")
FORMATS = (".py", ".json", ".yaml", ".yml")
CHECKPOINT_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar")
# Top-level keys that commands and mmengine read outside of a Runner.
OTHER_TOP_KEYS = {"custom_imports", "default_scope", "tta_model", "tta_pipeline", "tta_cfg", "runner_type", "strategy"}
# Types that mmcv looks up elsewhere than in a registry.
OTHER_TYPES = {"nms", "soft_nms", "RoIAlign", "RoIPool"}
# A registered class that runs a string of its config as code.
CODE_TYPES = {"CameraMotionCompensation"}


# ---------------------------------------------------------------------------------------------------------- finding


def config_root() -> Path:
    """The folder of the shipped configs: in an installed wheel inside the package, else beside it."""
    package = Path(toolkit.__file__).parent
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


def near(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?` for the names that resemble `name`, or nothing when none does."""
    names = list(names)
    found = difflib.get_close_matches(name, names, 3, 0.6)
    if not found:
        by_lower = {other.lower(): other for other in names}
        found = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower, 3, 0.6)]
    return f"; did you mean {' or '.join(repr(other) for other in found)}?" if found else ""


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
        sources = [shipped_configs(), *(_package_configs(other) for other in PACKAGES)]
    for names in sources:
        found = _pick(wanted, names)
        if found is not None:
            return found
    last = wanted.rsplit("/", 1)[-1]
    candidates = {full.rsplit("/", 1)[-1]: full for names in reversed(sources) for full in names}
    close = difflib.get_close_matches(last, candidates, 3, 0.6)
    hint = f"; did you mean {' or '.join(candidates[other] for other in close)}?" if close else ""
    raise UserError(f"config {name} does not exist, neither as a file nor as a shipped name{hint}")


# ---------------------------------------------------------------------------------------------------------- reading


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable text file: {error}") from error


def _bases(path: Path, tree: ast.Module) -> list[Path]:
    """The files that `_base_` of a config names, each checked to exist."""
    found = []
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        if node.targets[0].id != "_base_":
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue  # computed: mmengine evaluates it
        for base in [value] if isinstance(value, str) else value:
            if "::" in base:
                found.append(find_config(base))
                continue
            file = path.parent / base
            if not file.is_file():
                others = [other.name for other in file.parent.glob("*.py")] if file.parent.is_dir() else []
                raise UserError(f"{path}:{node.lineno}: _base_ {base!r} does not exist{near(file.name, others)}")
            found.append(file)
    return found


def config_chain(path: Path) -> dict[Path, ast.Module]:
    """A Python config and the files that it is based on, parsed.

    Raises:
        UserError: one of them has a syntax error, or a `_base_` does not exist; with file and line.
    """
    chain: dict[Path, ast.Module] = {}
    waiting = [path] if path.suffix == ".py" else []
    while waiting:
        file = waiting.pop()
        if file.resolve() in chain or file.suffix != ".py":
            continue
        tree = _parse(file)
        chain[file.resolve()] = tree
        waiting += _bases(file, tree)
    return chain


def _where(error: BaseException, path: Path, chain: Mapping[Path, Any]) -> str:
    """`FILE:LINE` of the config line that raised, or `path` when none did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve() in chain:
            return f"{frame.filename}:{frame.lineno}"
    return str(path)


def _summary(error: Exception) -> str:
    if isinstance(error, ImportError) and error.__cause__ is not None:  # mmengine's adds sys.path, a screenful
        return f"custom_imports: {error.__cause__}"
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return f"{type(error).__name__}: {next(iter(str(message).splitlines()), '')}"


def load_config(path_or_name: str | Path, options: Sequence[str] | Mapping[str, Any] | None = None) -> Config:
    """Read a config and set its default scope for building.

    The config's Python code is executed: read only configs whose origin you trust.

    Args:
        path_or_name: see `find_config`.
        options: overrides, as `['model.backbone.depth=18', ...]` or `{'model.backbone.depth': 18}`. Numbers in a key
            are places in a list (`train_dataloader.dataset.pipeline.0.type`).

    Raises:
        UserError: no such config, an error in it (with file and line), or an option that cannot be.
    """
    path = find_config(path_or_name)
    chain = config_chain(path)
    try:
        config = Config.fromfile(str(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{_where(error, path, chain)}: {_summary(error)}") from error
    if options:
        parsed = dict(options) if isinstance(options, Mapping) else parse_options(options)
        _merge_options(config, parsed, chain)
    set_scope(config.get("default_scope") or "mmdet")
    return config


def config_from_text(text: str, origin: str | Path) -> Config:
    """The config that a checkpoint carries as text, parsed without running it.

    mmengine writes resolved configs: assignments of literals and `dict(...)`. Every `type` must be a registered name;
    dotted paths to registered classes are shortened to these, any other path could name arbitrary code.

    Args:
        text: `meta['cfg']` of a checkpoint.
        origin: the checkpoint's path, for errors.

    Raises:
        UserError: the text holds anything else.
    """
    try:
        tree = ast.parse(text)
        values = {node.targets[0].id: _literal(node.value) for node in tree.body}  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{origin}: its config is not plain data ({error}); give a config file as well") from error
    config = Config(values)
    set_scope(config.get("default_scope") or "mmdet")
    return config


def _literal(node: ast.expr) -> Any:
    """`ast.literal_eval` that also takes `dict(key=value)`, `inf` and `nan`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if len(node.args) > 1 or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"line {node.lineno}: {ast.unparse(node)}")
        pairs = _literal(node.args[0]) if node.args else {}
        return dict(pairs) | {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_literal(element) for element in node.elts)
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_literal(node.operand)
    return ast.literal_eval(node)


def check_types(node: Any, origin: str | Path, path: str = "") -> None:
    """Refuse, in a config from an untrusted file, every `type` that is not the name of something registered.

    mmengine takes any dotted path as a type, `os.system` too. Dotted paths that end in a registered name are shortened
    to it in place.

    Raises:
        UserError: names key path and type.
    """
    registries = [registry for registry in vars(root_registries).values() if isinstance(registry, Registry)]
    names = set().union(OTHER_TYPES, *(known_names(registry) for registry in registries)) - CODE_TYPES
    for inner, part in _dicts(node, path):
        kind = part.get("type")
        if kind is None:
            continue
        scope, _, name = str(kind).rpartition(".")
        if name not in names:
            raise UserError(
                f"{origin}: its config has {inner}.type {kind!r}, which is nothing registered; "
                "if you trust it, give the config file before the checkpoint"
            )
        part["type"] = f"{scope}.{name}" if scope in PACKAGES else name


def set_scope(scope: str) -> None:
    """Make `scope` the one in which mmengine looks unprefixed names up."""
    current = DefaultScope.get_current_instance()
    if current is None or current.scope_name != scope:
        count = len(DefaultScope._instance_dict)
        DefaultScope.get_instance(f"toolkit-{scope}-{count}", scope_name=scope)


def _parse_value(text: str) -> Any:
    """The value of an option: a Python literal, a list of bare words, or a string."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        listed = "," in text or (text[:1] + text[-1:]) in ("[]", "()")
        return DictAction._parse_iterable(text) if listed and _balanced(text) else text
    return list(value) if isinstance(value, tuple) and not text.startswith("(") else value


def _balanced(text: str) -> bool:
    return text.count("(") == text.count(")") and text.count("[") == text.count("]")


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """`['a.b=1', 'c=[x,y]']` as `{'a.b': 1, 'c': ['x', 'y']}`.

    Raises:
        UserError: an option is not KEY=VALUE.
    """
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--cfg-options {option}: give KEY=VALUE, such as model.backbone.depth=18")
        parsed[key.strip()] = _parse_value(value.strip())
    return parsed


@cache
def runner_keys() -> frozenset[str]:
    """The top-level keys that mmengine's Runner takes."""
    from mmengine.runner import Runner

    return frozenset(inspect.signature(Runner.__init__).parameters) - {"self"} | OTHER_TOP_KEYS


def _children(node: Any) -> dict[str, Any]:
    """A config node's members by the name that they have in a key path."""
    if isinstance(node, Mapping):
        return {
            str(key): dict.__getitem__(node, key) if isinstance(node, dict) else node[key] for key in dict.keys(node)
        }
    if isinstance(node, list | tuple):
        return {str(place): value for place, value in enumerate(node)}
    return {}


def _elsewhere(key: str, config: Config) -> str:
    """`; did you mean ...?` for key paths that end in `key`, else for top-level keys that resemble its start."""
    found = [path for path, _ in _leaves(config._cfg_dict) if path.endswith(f".{key}")]
    if found:
        return f"; did you mean {' or '.join(repr(path) for path in found[:3])}?"
    return near(key.split(".")[0], config.keys())


def _check_option(key: str, config: Config, chain: Mapping[Path, ast.Module]) -> None:
    """Refuse a key that would be set where nothing can read it, which is most often a misspelt one.

    A new key is let through in a dict with a `type`, whose class says at building whether it takes it, unless it
    resembles a key that is there.
    """
    parts = key.split(".")
    if parts[0] not in config and parts[0] not in runner_keys():
        raise UserError(f"--cfg-options {key}: the config has no {parts[0]!r}{_elsewhere(key, config)}")
    if len(parts) == 1:
        _check_variable(key, config, chain)
    node: Any = config._cfg_dict
    for depth, part in enumerate(parts):
        children, parent, here = _children(node), ".".join(parts[:depth]), ".".join(parts[: depth + 1])
        if part in children:
            node = children[part]
            continue
        if isinstance(node, list | tuple):
            raise UserError(f"--cfg-options {key}: {parent} is a list of {len(node)}, so there is no {here}")
        if node is not None and not isinstance(node, Mapping):
            raise UserError(f"--cfg-options {key}: {parent} is {node!r} and has no parts")
        last = depth == len(parts) - 1
        resembles = difflib.get_close_matches(part, children, 1, 0.8)
        new_argument = last and "type" in children
        if depth and not new_argument and (resembles or not (last or "type" in children)):
            hint = near(here, [f"{parent}.{child}" for child in children])
            raise UserError(f"--cfg-options {key}: there is no {here!r}{hint}")
        return


def _check_variable(key: str, config: Config, chain: Mapping[Path, ast.Module]) -> None:
    """Refuse to set a variable that the config's lines have already used: it would change nothing."""
    if key not in config or key in runner_keys() or key not in _names_used(chain):
        return
    value = config[key]
    keys = [
        path for path, leaf in _leaves(config._cfg_dict) if leaf == value and path != key and type(leaf) is type(value)
    ]
    hint = f"set the keys made from it instead ({', '.join(keys[:4])})" if keys else "set the keys made from it instead"
    raise UserError(f"--cfg-options {key}: is a variable that the config file has already used; {hint}")


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in _children(node).items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(child, Mapping | list | tuple) and child:
            yield path, child
            yield from _leaves(child, path)
        else:
            yield path, child


def _merge_options(config: Config, options: Mapping[str, Any], chain: Mapping[Path, ast.Module]) -> None:
    for key, value in options.items():
        _check_option(key, config, chain)
        try:
            config.merge_from_dict({key: value})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise UserError(f"--cfg-options {key}={value}: {error}") from error


def _names_used(chain: Mapping[Path, ast.Module]) -> set[str]:
    """Names that the code of the config files reads: variables, `_base_.name` and `{{_base_.name}}`."""
    names = set()
    for tree in chain.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_base_." in node.value:
                names.update(re.findall(r"_base_\.(\w+)", node.value))
            elif isinstance(node, ast.Set):  # {{_base_.name}} outside of quotes parses as a set in a set
                names.update(sub.attr for sub in ast.walk(node) if isinstance(sub, ast.Attribute))
    return names


# --------------------------------------------------------------------------------------------------- errors in building


def _frames(error: BaseException) -> list[FrameType]:
    """The frames that `error` passed, outermost first."""
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames


def _built_config(frame: FrameType) -> Mapping | None:
    """The config that a frame of the `build...` functions of mmengine and its kin is building."""
    name = frame.f_code.co_name
    module = frame.f_globals.get("__name__", "")
    if not name.startswith("build") or module.split(".")[0] not in ("mmengine", "mmcv", *PACKAGES):
        return None
    config = frame.f_locals.get("dataloader" if name == "build_dataloader" else "cfg")
    if isinstance(config, Config):
        config = config._cfg_dict
    return config if isinstance(config, Mapping) else None


def _built_class(frame: FrameType) -> Any:
    """The class that such a frame instantiates, None when it was not found."""
    if frame.f_code.co_name == "build_dataloader":
        from torch.utils.data import DataLoader

        return DataLoader
    names = ("obj_cls", "layer", "conv_layer", "norm_layer", "padding_layer", "plugin_layer", "upsample")
    return next((frame.f_locals[name] for name in names if frame.f_locals.get(name) is not None), None)


def _dicts(node: Any, path: str = "") -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, Mapping):
        yield path, node
    for key, child in _children(node).items():
        yield from _dicts(child, f"{path}.{key}" if path else key)


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except (ValueError, RuntimeError):  # arrays
        return False


def _locate(wanted: Mapping, root: Mapping, below: str = "") -> str | None:
    """The key path of `wanted`, or of the dict that it is most likely a changed copy of, in `root` below `below`."""
    nodes = list(_dicts(root))
    identical = [path for path, node in nodes if node is wanted]
    if identical:  # several when a model hands a part of its config on to its head: the user wrote the shortest
        return min(identical, key=lambda path: path.count("."))
    best, best_score = None, 0.0
    for path, node in nodes:
        inside = not below or f"{path}.".startswith(f"{below}.")
        if not path or not inside or dict.get(node, "type") != dict.get(wanted, "type"):
            continue
        equal = sum(key in node and _same(node[key], value) for key, value in wanted.items())
        known = sum(key in wanted for key in node)
        score = (equal + known + 1) / (len(wanted) + len(node) + 1)
        if score > best_score:
            best, best_score = path, score
    return best


def _path_of(frames: Iterable[Mapping], root: Mapping) -> str | None:
    """The key path of the innermost of nested configs `frames`, outermost first, in the user's config."""
    path = None
    for config in frames:
        path = _locate(config, root, path or "") or _locate(config, root) or path
    return path


def _root(config: Config | Mapping) -> Mapping:
    return config._cfg_dict if isinstance(config, Config) else config


def _parameters(target: Any) -> dict[str, inspect.Parameter]:
    """Parameters by name of a class (with those of its bases where it passes `**kwargs` on) or function."""
    owners = [base for base in target.__mro__ if "__init__" in vars(base)] if inspect.isclass(target) else [target]
    found: dict[str, inspect.Parameter] = {}
    for owner in owners:
        function = owner.__init__ if inspect.isclass(owner) else owner
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            break
        for parameter in parameters:
            if parameter.name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _explain_arguments(error: TypeError, path: str, config: Mapping, target: Any) -> UserError | None:
    """A wrong or missing argument of `target`, which `config` at `path` builds."""
    name = getattr(target, "__name__", str(target))
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unexpected:
        key = unexpected[1]
        if key not in config:
            return UserError(f"{path}: {name} is given {key!r} by what contains it, but takes no such argument")
        return UserError(f"{path}.{key}: {name} takes no {key!r}{near(key, _parameters(target))}")
    missing = re.search(r"missing \d+ required (?:positional|keyword-only) arguments?: (.+)", str(error))
    if missing:
        names = re.findall(r"'(\w+)'", missing[1])
        listed = ", ".join(repr(other) for other in names)
        return UserError(f"{path}: {name} needs {listed}, which the config does not give")
    return None


def explain_build_error(error: BaseException, config: Config | Mapping) -> UserError | None:
    """Say in one line, with the key path, which part of `config` made building fail.

    Args:
        error: what Runner, `MODELS.build` or the like raised, with its traceback.
        config: the user's config, whole.

    Returns:
        A `UserError` for a type that is not registered, a missing `type`, a wrong or missing argument, a value that a
        constructor's own check refused, or a missing top-level key. None when the cause lies deeper.
    """
    root, frames = _root(config), _frames(error)
    if not frames:
        return None
    if isinstance(error, KeyError) and frames[-1].f_code.co_name in ("from_cfg", "__getitem__") and error.args:
        runner = any(frame.f_code.co_name == "from_cfg" for frame in frames[-3:])
        if runner and error.args[0] not in root:
            return UserError(f"the config has no {error.args[0]!r}{near(str(error.args[0]), root)}")
    builders = [
        (place, frame, built) for place, frame in enumerate(frames) if (built := _built_config(frame)) is not None
    ]
    if not builders:
        return None
    place, frame, built = builders[-1]
    path = _path_of([built for _, _, built in builders], root)
    if path is None:
        return None
    path, deeper = path or "the config", frames[place + 1 :]
    return (
        _explain_type(error, path, built, frame, deeper)
        or _explain_unfound(error, path, built)
        or _explain_call(error, path, built, frame, deeper)
    )


def _explain_type(
    error: BaseException, path: str, built: Mapping, frame: FrameType, deeper: list[FrameType]
) -> UserError | None:
    """A `type` that is absent or not registered."""
    in_registry = all(later.f_globals.get("__name__") == "mmengine.registry.registry" for later in deeper)
    if not isinstance(error, KeyError | RuntimeError) or not in_registry:
        return None
    if "type" not in built and 'key "type"' in str(error):
        return UserError(f"{path}: has no 'type', so it is unknown what to build")
    if not re.search(r"not in the .* registry|Failed to get|Cannot find|Unrecognized", str(error)):
        return None
    registry, kind = frame.f_locals.get("registry"), str(built.get("type"))
    names = known_names(registry) if isinstance(registry, Registry) else set()
    return UserError(f"{path}.type: {kind!r} is not registered{near(kind, names)}")


def _explain_unfound(error: BaseException, path: str, built: Mapping) -> UserError | None:
    """A `type` in `built` that mmengine looked up, did not find, and used all the same (an optimizer's)."""
    if not isinstance(error, TypeError | AttributeError) or "None" not in str(error):
        return None
    names = set().union(
        *(known_names(registry) for registry in vars(root_registries).values() if isinstance(registry, Registry))
    )
    for inner, node in _dicts(built, path):
        kind = dict.get(node, "type")
        if isinstance(kind, str) and "." not in kind and kind not in names:
            return UserError(f"{inner}.type: {kind!r} is not registered{near(kind, names)}")
    return None


def _explain_call(
    error: BaseException, path: str, built: Mapping, frame: FrameType, deeper: list[FrameType]
) -> UserError | None:
    """Arguments that the class does not take or lacks, or values that its constructor's own checks refuse."""
    target = _built_class(frame)
    if target is None or any(later.f_code.co_name != "__init__" for later in deeper):
        return None
    explained = _explain_arguments(error, path, built, target) if isinstance(error, TypeError) else None
    if explained is not None or not deeper or not isinstance(error, ValueError | KeyError | AssertionError | TypeError):
        return explained
    step = error.__traceback__
    while step.tb_next is not None:
        step = step.tb_next
    line = linecache.getline(deeper[-1].f_code.co_filename, step.tb_lineno).strip()
    if not line.startswith(("raise ", "assert ")):
        return None
    text = str(error.args[0]) if error.args else line
    return UserError(f"{path}: {getattr(target, '__name__', target)}: {text}")


@contextmanager
def config_errors(config: Config | Mapping) -> Iterator[None]:
    """Within it, errors of building from `config` that are the config's come out as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        explained = explain_build_error(error, config)
        if explained is None:
            raise
        raise explained from error


# --------------------------------------------------------------------------------------------------------- unread keys

_PATH = "_toolkit_path"  # attribute of a traced ConfigDict: its key path in the user's config


def _tag(node: Any, path: str = "") -> None:
    if isinstance(node, ConfigDict):
        object.__setattr__(node, _PATH, path)
    for key, child in _children(node).items():
        _tag(child, f"{path}.{key}" if path else key)


class _Tracer:
    """Replaces methods of ConfigDict by ones that note which keys of tagged dicts are read."""

    READERS = ("__getitem__", "get", "pop", "setdefault")
    WHOLE = ("items", "values")
    COPIERS = ("__copy__", "copy", "__deepcopy__")

    def __init__(self) -> None:
        self.read: set[str] = set()
        self._saved: dict[str, Any] = {}

    def note(self, node: ConfigDict, key: Any) -> None:
        path = node.__dict__.get(_PATH)
        if path is not None:
            self.read.add(f"{path}.{key}" if path else str(key))

    def install(self) -> None:
        names = (*self.READERS, *self.WHOLE, *self.COPIERS, "__init__")
        self._saved = {name: vars(ConfigDict).get(name) for name in names}
        originals = {name: getattr(ConfigDict, name) for name in names}
        for name in self.READERS:
            setattr(ConfigDict, name, self._reader(originals[name]))
        for name in self.WHOLE:
            setattr(ConfigDict, name, self._whole(originals[name]))
        for name in self.COPIERS:
            setattr(ConfigDict, name, self._copier(originals[name]))
        ConfigDict.__init__ = self._constructor(originals["__init__"])

    def remove(self) -> None:
        for name, method in self._saved.items():
            if method is None:
                delattr(ConfigDict, name)
            else:
                setattr(ConfigDict, name, method)

    def _reader(self, original: Callable) -> Callable:
        def read(node: ConfigDict, key: Any, *args: Any, **kwargs: Any) -> Any:
            self.note(node, key)
            return original(node, key, *args, **kwargs)

        return read

    def _whole(self, original: Callable) -> Callable:
        def read(node: ConfigDict) -> Any:
            for key in dict.keys(node):
                self.note(node, key)
            return original(node)

        return read

    def _copier(self, original: Callable) -> Callable:
        def copied(node: ConfigDict, *args: Any) -> ConfigDict:
            other = original(node, *args)
            if _PATH in node.__dict__:
                object.__setattr__(other, _PATH, node.__dict__[_PATH])
            return other

        return copied

    def _constructor(self, original: Callable) -> Callable:
        def construct(__self: ConfigDict, *args: Any, **kwargs: Any) -> None:
            original(__self, *args, **kwargs)
            if args and isinstance(args[0], ConfigDict) and _PATH in args[0].__dict__:
                object.__setattr__(__self, _PATH, args[0].__dict__[_PATH])

        return construct


def _unread(config: Config, read: set[str]) -> list[str]:
    """Key paths of `config` that are not in `read` although something opened the dict that they are in."""
    chain = config_chain(Path(config.filename)) if config.filename and Path(config.filename).is_file() else {}
    lazy = bool(getattr(config, "_imported_names", None))
    excused = runner_keys() | _names_used(chain)
    found = []

    def visit(node: Any, path: str) -> None:
        children = _children(node)
        paths = {key: f"{path}.{key}" if path else key for key in children}
        opened = isinstance(node, Mapping) and (not path or any(other in read for other in paths.values()))
        for key, child in children.items():
            if key.startswith("_"):
                continue
            known = paths[key] in read or not opened or (not path and (lazy or key in excused))
            if known:
                visit(child, paths[key])
            else:
                found.append(paths[key])

    visit(config._cfg_dict, "")
    return found


@contextmanager
def trace_reads(config: Config) -> Iterator[Callable[[], list[str]]]:
    """Watch which keys of `config` are read while something is built and run from it.

    Gives a function that lists the key paths which nothing has read so far. Left out are dicts of which nothing at
    all was read (they wait for a later stage, as `model.test_cfg` does for prediction), and variables at the top
    level that the config files' own lines use.

    Example::

        with trace_reads(config) as unread:
            runner = Runner.from_cfg(config)
            ...
        print(unread())
    """
    _tag(config._cfg_dict)
    tracer = _Tracer()
    tracer.install()
    try:
        yield lambda: _unread(config, tracer.read)
    finally:
        tracer.remove()
