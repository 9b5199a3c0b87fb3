"""The scope of a config: the library whose registries its unprefixed types are looked up in first."""

from mmengine.config import Config
from mmengine.registry import DefaultScope

from toolkit.ops import load_mmdet, load_mmseg

LIBRARIES = {"mmdet": load_mmdet, "mmseg": load_mmseg}


def scope_of(config: Config) -> str:
    """The `default_scope` of a config, `mmdet` where it gives none."""
    return config.get("default_scope") or "mmdet"


def set_scope(scope: str) -> None:
    """Make `scope` the one in which mmengine looks unprefixed names up."""
    current = DefaultScope.get_current_instance()
    if current is None or current.scope_name != scope:
        count = len(DefaultScope._instance_dict)
        DefaultScope.get_instance(f"toolkit-{scope}-{count}", scope_name=scope)


def load_scope(config: Config) -> None:
    """Import the library of the config's scope into the registries, in silence, and make the scope current."""
    scope = scope_of(config)
    if scope in LIBRARIES:
        LIBRARIES[scope]()
    set_scope(scope)
