"""Overrides from the command line: `--cfg-options model.backbone.depth=18 train_cfg.val_interval=5`."""

import ast
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from toolkit.config.literals import literal
from toolkit.config.nodes import children, leaves
from toolkit.config.sources import names_used
from toolkit.config.top_keys import runner_keys
from toolkit.errors import UserError, near


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """`['a.b=1', 'c=[x,y]']` as `{'a.b': 1, 'c': ['x', 'y']}`.

    Raises:
        UserError: an option is not KEY=VALUE, or its value has brackets that do not match.
    """
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--cfg-options {option}: give KEY=VALUE, such as model.backbone.depth=18")
        try:
            parsed[key.strip()] = _parse_value(value.strip())
        except (ValueError, RecursionError, MemoryError) as error:
            raise UserError(f"--cfg-options {option}: {error}") from None
    return parsed


def _parse_value(text: str) -> Any:
    """The value of an option: a Python literal, `dict(...)`, a list of bare words, or a string.

    Raises:
        ValueError: brackets that do not match, or a dict that holds more than literals.
    """
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = literal(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, TypeError):
        return _parse_words(text)
    if isinstance(value, float) and text.isalpha():  # inf and nan are words here
        return text
    return list(value) if isinstance(value, tuple) and not text.startswith("(") else value


def _parse_words(text: str) -> Any:
    """`[a, [b, 1]]`, `(a, b)` and `a,b` as lists and a tuple of what the parts are; other text as it is."""
    items, closed = _split(text)
    enclosed = text[:1] + text[-1:] in ("[]", "()") and len(items) == 1
    if text.startswith(("{", "dict(")) or (text.startswith(("[", "(")) and not closed):
        raise ValueError("is not a value of Python: its brackets must match, and words in a dict need quotes")
    if enclosed:
        parts = [_parse_value(item) for item in _split(text[1:-1])[0] if item]
        return tuple(parts) if text.startswith("(") else parts
    return [_parse_value(item) for item in items] if len(items) > 1 and closed else text


def _split(text: str) -> tuple[list[str], bool]:
    """`text` cut at the commas outside of brackets and quotes, and whether all of these are closed."""
    items, waiting = [""], []
    for letter in text:
        if waiting and letter == waiting[-1]:
            waiting.pop()
        elif waiting and waiting[-1] in "\"'":
            pass
        elif letter in "([{\"'":
            waiting.append({"(": ")", "[": "]", "{": "}"}.get(letter, letter))
        elif letter == "," and not waiting:
            items.append("")
            continue
        items[-1] += letter
    return [item.strip() for item in items], not waiting


def merge_options(config: Config, options: Mapping[str, Any], chain: Mapping[Path, ast.Module]) -> None:
    """Set `options` in `config`, whose files are `chain`.

    Raises:
        UserError: an option names a place that is not there, or that nothing would read.
    """
    for key, value in options.items():
        _check_option(key, config, chain)
        try:
            config.merge_from_dict({key: value})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise UserError(f"--cfg-options {key}={value}: {error}") from error


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
        members, parent, here = children(node), ".".join(parts[:depth]), ".".join(parts[: depth + 1])
        if part in members:
            node = members[part]
            continue
        if isinstance(node, list | tuple):
            raise UserError(f"--cfg-options {key}: {parent} is a list of {len(node)}, so there is no {here}")
        if node is not None and not isinstance(node, Mapping):
            raise UserError(f"--cfg-options {key}: {parent} is {node!r} and has no parts")
        last = depth == len(parts) - 1
        resembles = difflib.get_close_matches(part, members, 1, 0.8)
        new_argument = last and "type" in members
        if depth and not new_argument and (resembles or not (last or "type" in members)):
            hint = near(here, [f"{parent}.{child}" for child in members])
            raise UserError(f"--cfg-options {key}: there is no {here!r}{hint}")
        return


def _check_variable(key: str, config: Config, chain: Mapping[Path, ast.Module]) -> None:
    """Refuse to set a variable that the config's lines have already used: it would change nothing."""
    if key not in config or key in runner_keys() or key not in names_used(chain):
        return
    value = config[key]
    keys = [
        path for path, leaf in leaves(config._cfg_dict) if leaf == value and path != key and type(leaf) is type(value)
    ]
    hint = f"set the keys made from it instead ({', '.join(keys[:4])})" if keys else "set the keys made from it instead"
    raise UserError(f"--cfg-options {key}: is a variable that the config file has already used; {hint}")


def _elsewhere(key: str, config: Config) -> str:
    """`; did you mean ...?` for key paths that end in `key`, else for top-level keys that resemble its start."""
    found = [path for path, _ in leaves(config._cfg_dict) if path.endswith(f".{key}")]
    if found:
        return f"; did you mean {' or '.join(repr(path) for path in found[:3])}?"
    return near(key.split(".")[0], config.keys())
