"""Keys of a config that nothing reads, which are most often misspelt ones."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from toolkit.config.nodes import children
from toolkit.config.sources import config_chain, names_used
from toolkit.config.top_keys import runner_keys

_PATH = "_toolkit_path"  # attribute of a traced ConfigDict: its key path in the user's config


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


def _unread(config: Config, read: set[str]) -> list[str]:
    """Key paths of `config` that are not in `read` although something opened the dict that they are in."""
    chain = config_chain(Path(config.filename)) if config.filename and Path(config.filename).is_file() else {}
    lazy = bool(getattr(config, "_imported_names", None))
    excused = runner_keys() | names_used(chain)
    found = []

    def visit(node: Any, path: str) -> None:
        members = children(node)
        paths = {key: f"{path}.{key}" if path else key for key in members}
        opened = isinstance(node, Mapping) and (not path or any(other in read for other in paths.values()))
        for key, child in members.items():
            if key.startswith("_"):
                continue
            known = paths[key] in read or not opened or (not path and (lazy or key in excused))
            if known:
                visit(child, paths[key])
            else:
                found.append(paths[key])

    visit(config._cfg_dict, "")
    return found


def _tag(node: Any, path: str = "") -> None:
    if isinstance(node, ConfigDict):
        object.__setattr__(node, _PATH, path)
    for key, child in children(node).items():
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
