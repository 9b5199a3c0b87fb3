"""Measure a checkpoint on the test set of its configuration."""

import argparse
import json
from pathlib import Path
from typing import Any

from toolkit.commands._shared import check_out
from toolkit.errors import UserError, some
from toolkit.files import write_whole

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
    check_out(args)
    from toolkit.engine.setup import (
        add_defaults,
        build_runner,
        choose_device,
        end_processes,
        make_work_dir,
        move_data_root,
    )

    choose_device(args.device)
    from toolkit.checkpoint import load_into
    from toolkit.config import check_top_keys, config_errors, load_config

    cfg = load_config(args.config, args.cfg_options)
    check_top_keys(cfg, "test")
    if args.data_root:
        move_data_root(cfg, args.data_root)
    work_dir = args.work_dir or Path("work_dirs") / Path(cfg.filename).stem / "test"
    cfg.work_dir = str(work_dir)
    cfg.launcher, cfg.load_from, cfg.resume = args.launcher, None, False
    add_defaults(cfg, seed=None)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg.pop(key, None)
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg.pop(key, None)
    cfg["custom_hooks"] = []
    make_work_dir(work_dir)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    with config_errors(cfg):
        runner = build_runner(cfg, args.unsafe_checkpoint)
        model = getattr(runner.model, "module", runner.model)
        loaded = load_into(model, args.checkpoint, unsafe=args.unsafe_checkpoint)
        check_class_names(args.checkpoint, loaded.meta, runner.test_loop.dataloader.dataset)
        metrics = runner.test()
        end_processes()
    if args.out:
        write_whole((json.dumps(metrics, indent=2) + "\n").encode(), args.out)
    return 0


def check_class_names(checkpoint: str, meta: dict, dataset: Any) -> None:
    """Refuse to count a class of the checkpoint as another one of the data set."""
    theirs = (meta.get("dataset_meta") or {}).get("classes")
    ours = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if theirs and ours and [name.casefold() for name in theirs] != [name.casefold() for name in ours]:
        raise UserError(
            f"{checkpoint}: was trained for the classes {some(theirs, 5)}, the test set has {some(ours, 5)}; names and "
            "order must be the same"
        )
