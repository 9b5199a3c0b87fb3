"""Python literals, read without running anything."""

import ast
from typing import Any


def literal(node: ast.expr) -> Any:
    """`ast.literal_eval` that also takes `dict(key=value)`, `inf` and `nan`.

    Raises:
        ValueError: `node` is anything else.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if len(node.args) > 1 or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"line {node.lineno}: {ast.unparse(node)}")
        pairs = literal(node.args[0]) if node.args else {}
        return dict(pairs) | {keyword.arg: literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {literal(key): literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(literal(element) for element in node.elts)
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -literal(node.operand)
    return ast.literal_eval(node)
