"""Configs: found by path or by name, read with errors that say what is wrong where, and checked for unread keys.

A config is a Python file that mmengine executes, so a config from a stranger is a program from a stranger.
"""

from toolkit.config.build_errors import config_errors, explain_build_error
from toolkit.config.finding import CHECKPOINT_ENDINGS, FORMATS, config_root, find_config, shipped_configs
from toolkit.config.options import parse_options
from toolkit.config.reading import load_config
from toolkit.config.scope import load_scope, set_scope
from toolkit.config.top_keys import check_top_keys
from toolkit.config.unread import trace_reads
from toolkit.config.untrusted import check_types, config_from_text

__all__ = [
    "CHECKPOINT_ENDINGS", "FORMATS", "check_top_keys", "check_types", "config_errors", "config_from_text",
    "config_root", "explain_build_error", "find_config", "load_config", "load_scope", "parse_options", "set_scope",
    "shipped_configs", "trace_reads",
]  # fmt: skip
