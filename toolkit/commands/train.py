"""Train any model from a configuration."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """examples:
  python tools/train.py detection/yolo_ms_xs_80e_bccd
  python tools/train.py configs/detection/yolo_ms_xs_80e_bccd.py --cfg-options train_dataloader.batch_size=4
  python tools/train.py my_config.py --check                 # build everything, try one batch, list unread keys
  python tools/train.py my_config.py --resume                # go on where the last run stopped
  torchrun --nproc_per_node 2 tools/train.py my_config.py --launcher pytorch
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="a file, or the name of a shipped configuration")
    parser.add_argument("--work-dir", type=Path, help="where to write (default: work_dirs/NAME OF CONFIG)")
    parser.add_argument(
        "--resume", nargs="?", const="auto", metavar="PATH", help="go on from PATH or the last checkpoint"
    )
    parser.add_argument("--load-from", metavar="PATH", help="begin with the weights of this checkpoint")
    parser.add_argument("--force", action="store_true", help="remove the run in the work directory, start anew")
    parser.add_argument("--amp", action="store_true", help="mixed precision in bfloat16, on CPU and GPU")
    parser.add_argument("--no-scale-lr", action="store_true", help="keep the learning rate whatever the batch size")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set is, if not where the config says")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override keys of the config")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    parser.add_argument("--seed", type=int, help="of everything random (default: the config's, else 0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    parser.add_argument("--check", action="store_true", help="build all, run one batch, list unread config keys, exit")
    parser.add_argument("--unsafe-checkpoint", action="store_true", help="load trusted checkpoints that hold code")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.seed is not None and not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: give a number from 0 to 4294967295")
    from toolkit.engine.setup import (
        add_defaults,
        build_runner,
        choose_device,
        end_processes,
        make_work_dir,
        move_data_root,
        use_bfloat16,
    )

    choose_device(args.device)
    from toolkit.config import check_top_keys, config_errors, load_config

    cfg = load_config(args.config, args.cfg_options)
    unread = check_top_keys(cfg, "train")
    if unread and not args.check:
        print(f"warning: {cfg.filename}: nothing reads {', '.join(unread)}", file=sys.stderr)
    if args.data_root:
        move_data_root(cfg, args.data_root)
    name = Path(cfg.filename).stem
    work_dir = args.work_dir or Path(cfg.get("work_dir") or Path("work_dirs") / name)
    cfg.work_dir = str(work_dir)
    cfg.launcher = args.launcher
    add_defaults(cfg, args.seed)
    if args.amp:
        use_bfloat16(cfg)
    if cfg.get("auto_scale_lr"):
        cfg.auto_scale_lr["enable"] = not args.no_scale_lr
    if args.check:
        return check(cfg)
    begin_from(cfg, work_dir, args)
    make_work_dir(work_dir)
    outdated = files_of_run(work_dir) if args.force and not args.resume else []
    with config_errors(cfg):
        runner = build_runner(cfg, args.unsafe_checkpoint)
        if outdated:
            runner.register_hook(dict(type="RemoveHook", paths=outdated))
        runner.train()
        end_processes()
    return 0


def begin_from(cfg, work_dir: Path, args: argparse.Namespace) -> None:
    """Set in `cfg` what the run begins with: nothing, the weights of a checkpoint, or the state of an earlier run."""
    from toolkit.checkpoint import load_checkpoint
    from toolkit.engine.setup import last_checkpoint

    last = last_checkpoint(work_dir)
    if args.resume:
        path = last if args.resume == "auto" else Path(args.resume)
        if path is None:
            print(f"nothing to resume in {work_dir}: starting from the beginning")
        else:
            meta = load_checkpoint(path, unsafe=args.unsafe_checkpoint).get("meta", {})
            if "iter" not in meta:
                raise UserError(f"{path}: has no training state to resume; --load-from begins with its weights")
            if args.seed is None and meta.get("seed") is not None:
                cfg.randomness["seed"] = meta["seed"]
            print(f"resuming {path} (epoch {meta['epoch']}, iteration {meta['iter']})")
            cfg.resume, cfg.load_from = True, str(path)
        return
    if os.environ.get("RANK", "0") == "0" and last is not None and not args.force:
        raise UserError(
            f"{work_dir}: holds a run already; go on with --resume, start anew with --force, or give another --work-dir"
        )
    if args.load_from:
        load_checkpoint(args.load_from, unsafe=args.unsafe_checkpoint)
        cfg.load_from = args.load_from


def files_of_run(work_dir: Path) -> list[Path]:
    """What an earlier run wrote to `work_dir`: checkpoints, curves and folders of logs."""
    patterns = ("epoch_*.pth", "iter_*.pth", "best*.pth", "stopped.pth", "last_checkpoint", "curves.png")
    files = [path for pattern in patterns for path in work_dir.glob(pattern)]
    return files + [logs.parent for logs in work_dir.glob("*/vis_data")]


def check(cfg) -> int:
    """Build everything that `cfg` names, run one batch forward and backward and one through validation; report."""
    from toolkit.config import config_errors, trace_reads
    from toolkit.engine.setup import build_runner

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, trace_reads(cfg) as unread, config_errors(cfg):
        cfg.work_dir = folder
        runner = build_runner(cfg)
        losses = try_one_batch(runner)
        unread_keys = unread()
    params = sum(parameter.numel() for parameter in runner.model.parameters())
    print(f"model: {type(runner.model).__name__}, {params:,} parameters")
    print(f"data: {len(runner.train_dataloader.dataset):,} training samples, {len(runner.train_dataloader):,} batches")
    print("one batch: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
    if unread_keys:
        print("config keys that nothing read:\n" + "\n".join(f"  {key}" for key in unread_keys))
    print(f"ok ({time.perf_counter() - began:.1f} s)")
    return 0


def try_one_batch(runner) -> dict[str, float]:
    """The losses of one training step; one validation step is run after it."""
    import torch

    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    if runner._val_loop is not None:
        runner._val_loop = runner.build_val_loop(runner._val_loop)
    runner._init_model_weights()
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 1)
    runner.model.train()
    losses = runner.model.train_step(next(iter(runner.train_dataloader)), optim_wrapper=runner.optim_wrapper)
    losses = {name: float(value.detach()) for name, value in losses.items()}
    bad = [name for name, value in losses.items() if not abs(value) < float("inf")]
    if bad:
        raise UserError(f"one batch gave a loss that is not finite: {', '.join(bad)}")
    if runner._val_loop is not None:
        runner.model.eval()
        with torch.no_grad():
            runner.model.val_step(next(iter(runner.val_dataloader)))
    return losses
