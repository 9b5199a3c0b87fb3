"""The Python files that a config is made of, parsed but not run."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from toolkit.config.finding import find_config
from toolkit.errors import UserError, near


def config_chain(path: Path) -> dict[Path, ast.Module]:
    """A Python config and the files that it is based on, parsed.

    Raises:
        UserError: one of them has a syntax error, or a `_base_` does not exist; with file and line.
    """
    chain: dict[Path, ast.Module] = {}
    waiting = [path] if path.suffix == ".py" else []
    while waiting:
        file = waiting.pop()
        if file.resolve() in chain or file.suffix != ".py":
            continue
        tree = _parse(file)
        chain[file.resolve()] = tree
        waiting += _bases(file, tree)
    return chain


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable text file: {error}") from error


def _bases(path: Path, tree: ast.Module) -> list[Path]:
    """The files that `_base_` of a config names, each checked to exist."""
    found = []
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        if node.targets[0].id != "_base_":
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue  # computed: mmengine evaluates it
        for base in [value] if isinstance(value, str) else value:
            if "::" in base:
                found.append(find_config(base))
                continue
            file = path.parent / base
            if not file.is_file():
                others = [other.name for other in file.parent.glob("*.py")] if file.parent.is_dir() else []
                raise UserError(f"{path}:{node.lineno}: _base_ {base!r} does not exist{near(file.name, others)}")
            found.append(file)
    return found


def names_used(chain: Mapping[Path, ast.Module]) -> set[str]:
    """Names that the code of the config files reads: variables, `_base_.name` and `{{_base_.name}}`."""
    names = set()
    for tree in chain.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_base_." in node.value:
                names.update(re.findall(r"_base_\.(\w+)", node.value))
            elif isinstance(node, ast.Set):  # {{_base_.name}} outside of quotes parses as a set in a set
                names.update(sub.attr for sub in ast.walk(node) if isinstance(sub, ast.Attribute))
    return names
