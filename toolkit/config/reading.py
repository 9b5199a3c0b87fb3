"""Configs read from files, with errors that name file and line."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from toolkit.config.finding import find_config
from toolkit.config.options import merge_options, parse_options
from toolkit.config.scope import scope_of, set_scope
from toolkit.config.sources import config_chain
from toolkit.errors import UserError


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
        merge_options(config, parsed, chain)
    set_scope(scope_of(config))
    return config


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
