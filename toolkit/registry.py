"""Names in mmengine's root registries whose modules are imported when a config names them.

A child registry (mmdet's, mmseg's) asks its root for a name that it lacks, so one entry in the root serves every
scope. `lazy` files a name with the module that defines it; the module's own `@MODELS.register_module()` replaces the
entry when it is imported.
"""

import sys
from importlib import import_module

from mmengine.registry import Registry

FILED: dict[str, str] = {}  # every name that `lazy` was told of -> its module


class _LazyModules(dict):
    """A registry's name -> class mapping in which some classes are still waiting to be imported."""

    def __init__(self, registered: dict):
        super().__init__(registered)
        self.pending: dict[str, str] = {}

    def _load(self, name: str) -> None:
        module = self.pending.get(name)
        if module is None or module in sys.modules:  # in sys.modules: it is just now importing and about to register
            return
        import_module(module)
        if not dict.__contains__(self, name):
            raise ImportError(f"{module} does not register {name!r}")

    def __contains__(self, name: object) -> bool:
        if not dict.__contains__(self, name):
            self._load(name)
        return dict.__contains__(self, name)

    def __getitem__(self, name: str) -> type:
        if not dict.__contains__(self, name):
            self._load(name)
        return dict.__getitem__(self, name)

    def __setitem__(self, name: str, value: type) -> None:
        self.pending.pop(name, None)
        dict.__setitem__(self, name, value)


def lazy(registry: Registry, module: str, *names: str) -> None:
    """File `names` of root `registry` as defined in `module`, without importing it."""
    if not isinstance(registry._module_dict, _LazyModules):
        registry._module_dict = _LazyModules(registry._module_dict)
    registry._module_dict.pending.update(dict.fromkeys(names, module))
    FILED.update(dict.fromkeys(names, module))


def known_names(registry: Registry) -> set[str]:
    """Every name that `registry`, its parents and its children answer to, waiting ones included."""
    while registry.parent is not None:
        registry = registry.parent
    waiting, names = [registry], set()
    while waiting:
        node = waiting.pop()
        names |= set(node._module_dict) | set(getattr(node._module_dict, "pending", ()))
        waiting += node.children.values()
    return names
