"""Configs that come inside checkpoints: parsed as data, never run."""

import ast
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.registry import root as root_registries

from toolkit.config.literals import literal
from toolkit.config.nodes import dicts
from toolkit.config.scope import LIBRARIES, scope_of, set_scope
from toolkit.errors import UserError
from toolkit.registry import known_names

# Types that mmcv looks up elsewhere than in a registry.
OTHER_TYPES = {"nms", "soft_nms", "RoIAlign", "RoIPool"}
# A registered class that runs a string of its config as code.
CODE_TYPES = {"CameraMotionCompensation"}


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
        values = {node.targets[0].id: literal(node.value) for node in tree.body}  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{origin}: its config is not plain data ({error}); give a config file as well") from error
    config = Config(values)
    set_scope(scope_of(config))
    return config


def check_types(node: Any, origin: str | Path, path: str = "") -> None:
    """Refuse, in a config from an untrusted file, every `type` that is not the name of something registered.

    mmengine takes any dotted path as a type, `os.system` too. Dotted paths that end in a registered name are shortened
    to it in place.

    Raises:
        UserError: names key path and type.
    """
    registries = [registry for registry in vars(root_registries).values() if isinstance(registry, Registry)]
    names = set().union(OTHER_TYPES, *(known_names(registry) for registry in registries)) - CODE_TYPES
    for inner, part in dicts(node, path):
        kind = part.get("type")
        if kind is None:
            continue
        scope, _, name = str(kind).rpartition(".")
        if name not in names:
            raise UserError(
                f"{origin}: its config has {inner}.type {kind!r}, which is nothing registered; "
                "if you trust it, give the config file before the checkpoint"
            )
        part["type"] = f"{scope}.{name}" if scope in LIBRARIES else name
