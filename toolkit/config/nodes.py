"""A config as a tree whose parts have key paths, such as `model.neck.type` or `param_scheduler.1.end`."""

from collections.abc import Iterator, Mapping
from typing import Any


def children(node: Any) -> dict[str, Any]:
    """A config node's members by the name that they have in a key path."""
    if isinstance(node, Mapping):
        return {
            str(key): dict.__getitem__(node, key) if isinstance(node, dict) else node[key] for key in dict.keys(node)
        }
    if isinstance(node, list | tuple):
        return {str(place): value for place, value in enumerate(node)}
    return {}


def dicts(node: Any, path: str = "") -> Iterator[tuple[str, Mapping]]:
    """(key path, dict) of `node`, which lies at `path`, and of every dict in it."""
    if isinstance(node, Mapping):
        yield path, node
    for key, child in children(node).items():
        yield from dicts(child, f"{path}.{key}" if path else key)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key path, value) of everything below `node`, dicts and lists included."""
    for key, child in children(node).items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(child, Mapping | list | tuple) and child:
            yield path, child
            yield from leaves(child, path)
        else:
            yield path, child
