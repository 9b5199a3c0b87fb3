"""List what the toolkit offers by name, with the paper each comes from."""

import argparse

from toolkit.catalogue import PARTS

EXAMPLES = """examples:
  toolkit list modules
  toolkit list modules --kind attention
  toolkit list configs

Then `toolkit show NAME` says how to use one in a config. Parameters of a module are those for 64 channels. `equal`
means that its outputs are held against those of the published implementation.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=[*PARTS, "configs"], metavar="WHAT", help=", ".join([*PARTS, "configs"]))
    parser.add_argument("--kind", help="of modules: conv, attention, mixer or norm")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    import toolkit  # noqa: F401  files the names

    if args.what == "configs":
        return list_configs()
    from toolkit.catalogue import entries
    from toolkit.errors import UserError

    found = entries(args.what)
    kinds = list(dict.fromkeys(entry.kind for entry in found))
    if args.kind and args.kind not in kinds:
        raise UserError(f"--kind {args.kind}: of {args.what} there are {', '.join(kinds)}")
    found = [entry for entry in found if args.kind in (None, entry.kind)]
    rows = [[entry.name, entry.kind, parameters(entry), "equal" * entry.verified, entry.paper] for entry in found]
    show([["name", "kind", "params" * (args.what == "modules"), "", "paper"], *rows])
    return 0


def parameters(entry) -> str:
    """Parameters of a module as an example; nothing for other parts, whose sizes their configs choose."""
    if entry.part != "modules":
        return ""
    from toolkit.catalogue import example

    module, _ = example(entry)
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


def list_configs() -> int:
    from toolkit.config import shipped_configs

    rows = [[name, first_line(path)] for name, path in sorted(shipped_configs().items())]
    show(rows)
    return 0


def first_line(path) -> str:
    """The first line of a config's docstring."""
    import ast

    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def show(rows: list[list[str]]) -> None:
    """Print columns side by side, the last as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
