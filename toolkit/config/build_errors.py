"""Errors of building from a config, translated into the key path at fault."""

import inspect
import linecache
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.registry import root as root_registries

from toolkit.config.forward_errors import explain_forward_error
from toolkit.config.nodes import dicts
from toolkit.config.scope import LIBRARIES
from toolkit.errors import UserError, near
from toolkit.registry import known_names


@contextmanager
def config_errors(config: Config | Mapping) -> Iterator[None]:
    """Within it, errors of building and running a model that are the config's come out as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        explained = explain_build_error(error, config)
        if explained is None and error.__context__ is not None:  # mmengine raises errors of hooks anew
            explained = explain_build_error(error.__context__, config)
        explained = explained or explain_forward_error(error)
        if explained is None:
            raise
        raise explained from error


def explain_build_error(error: BaseException, config: Config | Mapping) -> UserError | None:
    """Say in one line, with the key path, which part of `config` made building fail.

    Args:
        error: what Runner, `MODELS.build` or the like raised, with its traceback.
        config: the user's config, whole.

    Returns:
        A `UserError` for a type that is not registered, a missing `type`, a wrong or missing argument, a value that a
        constructor refused. None when the cause lies deeper.
    """
    root, frames = _root(config), _frames(error)
    builders = [
        (place, frame, built) for place, frame in enumerate(frames) if (built := _built_config(frame)) is not None
    ]
    if not builders:
        return None
    place, frame, built = builders[-1]
    path = _path_of([built for _, _, built in builders], root) or _path_of_argument(error, root)
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
    for inner, node in dicts(built, path):
        kind = dict.get(node, "type")
        if isinstance(kind, str) and "." not in kind and kind not in names:
            return UserError(f"{inner}.type: {kind!r} is not registered{near(kind, names)}")
    return None


def _explain_call(
    error: BaseException, path: str, built: Mapping, frame: FrameType, deeper: list[FrameType]
) -> UserError | None:
    """Arguments that the class does not take or lacks, or values that its constructor refuses."""
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
    if isinstance(error, KeyError) and not line.startswith("raise "):  # a bare key tells nothing
        return None
    text = str(error.args[0]) if error.args else line
    return UserError(f"{path}: {getattr(target, '__name__', target)}: {text}")


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
    if not name.startswith("build") or module.split(".")[0] not in ("mmengine", "mmcv", *LIBRARIES):
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


def _path_of(frames: Iterable[Mapping], root: Mapping) -> str | None:
    """The key path of the innermost of nested configs `frames`, outermost first, in the user's config."""
    path = None
    for config in frames:
        path = _locate(config, root, path or "") or _locate(config, root) or path
    return path


def _locate(wanted: Mapping, root: Mapping, below: str = "") -> str | None:
    """The key path of `wanted`, or of the dict that it is most likely a changed copy of, in `root` below `below`."""
    nodes = list(dicts(root))
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


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except (ValueError, RuntimeError):  # arrays
        return False


def _path_of_argument(error: BaseException, root: Mapping) -> str | None:
    """The one dict in `root` that has the argument which `error` refuses: a hook may build from a part of its own."""
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    found = [path for path, node in dicts(root) if unexpected and unexpected[1] in node]
    return found[0] if len(found) == 1 else None


def _root(config: Config | Mapping) -> Mapping:
    return config._cfg_dict if isinstance(config, Config) else config
