"""Say what a registered name does, what its arguments mean, and how a config uses it."""

import argparse
import inspect

from toolkit.errors import UserError

EXAMPLES = """examples:
  toolkit show ECA
  toolkit show SEPC
"""
USES = {
    "conv": "model = dict(backbone=dict(conv_cfg=dict(type={name!r})))    # wherever mmcv builds a convolution",
    "attention": "model = dict(backbone=dict(plugins=[\n"
    "    dict(cfg=dict(type={name!r}), stages=(False, True, True, True), position='after_conv2'),\n"
    "]))",
    "norm": "model = dict(backbone=dict(norm_cfg=dict(type={name!r})))",
    "mixer": "MODELS.build(dict(type={name!r}, in_channels=64))    # a block with input and output of one shape",
    "backbones": "model = dict(backbone=dict(type={name!r}))",
    "necks": "model = dict(neck=dict(type={name!r}))",
    "heads": "model = dict(bbox_head=dict(type={name!r}))",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="as `toolkit list` prints it")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from difflib import get_close_matches

    from mmengine.registry import MODELS

    import toolkit  # noqa: F401  files the names
    from toolkit.catalogue import PARTS, entries

    known = {entry.name: entry for part in PARTS for entry in entries(part)}
    by_case = {name.lower(): name for name in known}
    name = by_case.get(args.name.lower())
    if name is None:
        near = [by_case[match] for match in get_close_matches(args.name.lower(), by_case, 3)]
        hint = f"; near it: {', '.join(near)}" if near else "; `toolkit list modules` names them"
        raise UserError(f"{args.name}: no such name{hint}")
    entry, cls = known[name], MODELS.get(name)
    print(f"{name}: {entry.summary}.\n{entry.paper}.\n")
    print("custom_imports = dict(imports=['toolkit'])")
    print(usage(entry, cls) + "\n")
    print(f"{name}{inspect.signature(cls)}\n")
    print(inspect.getdoc(cls) or "")
    return 0


def usage(entry, cls: type) -> str:
    """The line of a config that brings it in; a module that is built in another way than its kind says so itself."""
    from toolkit.catalogue import example_args

    if entry.part != "modules":
        return USES[entry.kind].format(name=entry.name)
    taken = inspect.signature(cls).parameters
    if entry.kind == "conv" and not {"in_channels", "out_channels", "kernel_size", "padding"} <= set(taken):
        args = ", ".join(f"{key}={value!r}" for key, value in example_args(cls).items())
        return f"MODELS.build(dict(type={entry.name!r}, {args}))"
    return USES[entry.kind].format(name=entry.name)
