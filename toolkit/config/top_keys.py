"""The top-level keys of a config: what mmengine's Runner takes, and what nothing does."""

import difflib
import inspect
from functools import cache
from pathlib import Path

from mmengine.config import Config

from toolkit.config.sources import config_chain, names_used
from toolkit.errors import UserError

# Read outside of a Runner's own arguments, by mmengine or by commands.
OTHER_KEYS = {
    "custom_imports", "default_scope", "find_unused_parameters", "init_weights_for_test_or_val", "model_wrapper_cfg",
    "runner_type", "strategy", "sync_bn", "tta_cfg", "tta_model", "tta_pipeline",
}  # fmt: skip
# What belongs together: a Runner takes all keys of a line or none.
PARTS = {
    "model": ("model",),
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}


@cache
def _runner_arguments() -> frozenset[str]:
    from mmengine.runner import Runner

    return frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}


def runner_keys() -> frozenset[str]:
    """The top-level keys that something reads."""
    return _runner_arguments() | OTHER_KEYS


def check_top_keys(config: Config, purpose: str) -> list[str]:
    """The top-level keys of `config` that nothing reads, neither a Runner nor the lines of its own files.

    Args:
        config: the user's.
        purpose: "train" or "test": what the config must be complete for.

    Raises:
        UserError: a key is missing; or one that nothing reads is most likely a misspelt one, whose default would hold
            in silence.
    """
    unread = _unread(config)
    for key in unread:
        meant = difflib.get_close_matches(key, _runner_arguments(), 1, 0.85)
        if meant:
            raise UserError(f"{config.filename}: {key} is read by nothing; did you mean {meant[0]!r}?")
    for part, keys in PARTS.items():
        missing = [key for key in keys if config.get(key) is None]
        if missing and (part in ("model", purpose) or (part == "val" and purpose == "train" and missing != list(keys))):
            raise UserError(f"{config.filename}: has no {', '.join(map(repr, missing))}, which a {purpose} run needs")
    return unread


def _unread(config: Config) -> list[str]:
    if getattr(config, "_imported_names", None):  # a config in pure Python, which keeps its variables as keys
        return []
    path = Path(config.filename or "")
    used = runner_keys() | names_used(config_chain(path) if path.is_file() else {})
    return [key for key in config if key not in used and not key.startswith("_")]
