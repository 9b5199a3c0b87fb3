"""Measure a checkpoint on the test set of its configuration."""

import argparse
import json
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """examples:
  python tools/test.py detection/yolo_ms_xs_80e_bccd work_dirs/yolo_ms_xs_80e_bccd/best.pth
  python tools/test.py my_config.py authors_checkpoint.pth --out metrics.json
  python tools/test.py detection/yolo_ms_xs_80e_bccd best.pth --data-root elsewhere/bccd
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="a file, or the name of a shipped configuration")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="ours or the authors' own")
    parser.add_argument("--out", type=Path, help="write the metrics to this JSON file")
    parser.add_argument("--work-dir", type=Path, help="where logs go (default: work_dirs/NAME OF CONFIG/test)")
    parser.add_argument("--force", action="store_true", help="overwrite the file that --out names")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set is, if not where the config says")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override keys of the configuration")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    parser.add_argument("--unsafe-checkpoint", action="store_true", help="load a trusted checkpoint that holds code")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.out and args.out.exists() and not args.force:
        raise UserError(f"{args.out}: exists already; --force overwrites it")
    from toolkit.engine.setup import add_defaults, build_runner, choose_device, move_data_root

    choose_device(args.device)
    from toolkit.checkpoint import load_into
    from toolkit.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        move_data_root(cfg, args.data_root)
    cfg.work_dir = str(args.work_dir or Path("work_dirs") / Path(cfg.filename).stem / "test")
    cfg.launcher, cfg.load_from, cfg.resume = args.launcher, None, False
    add_defaults(cfg, seed=None)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg.pop(key, None)
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg.pop(key, None)
    cfg["custom_hooks"] = []
    runner = build_runner(cfg, args.unsafe_checkpoint)
    load_into(getattr(runner.model, "module", runner.model), args.checkpoint, unsafe=args.unsafe_checkpoint)
    metrics = runner.test()
    if args.out:
        temporary = args.out.with_name(args.out.name + ".part")
        temporary.write_text(json.dumps(metrics, indent=2) + "\n")
        temporary.replace(args.out)
    return 0
