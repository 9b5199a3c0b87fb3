"""From a configuration and the options of a command to a Runner."""

import os
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

from mmengine.config import Config

from toolkit.config import config_errors, load_scope
from toolkit.errors import UserError

OWN_HOOKS = dict(
    reproducible="ReproducibleHook",
    progress="ProgressHook",
    curves="CurvesHook",
    plots="MetricPlotsHook",
    stop="StopHook",
)


def choose_device(name: str | None) -> None:
    """Let torch see only the device `name` ("cpu", "cuda", "cuda:1", "mps"); None leaves the choice to mmengine.

    To be called before anything imports torch. Raises `UserError` for a device that is not there.
    """
    if name is None:
        return
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device: {name!r} is none of cpu, cuda, cuda:N, mps")
    if kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif number:
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine shows no such GPU to PyTorch; use --device cpu")


def add_defaults(cfg: Config, seed: int | None) -> None:
    """Give `cfg`, which may come from any OpenMMLab library, the hooks and backends that training here relies on."""
    hooks = dict(cfg.get("default_hooks") or {})
    checkpoint = dict(dict(type="CheckpointHook", interval=1), **(hooks.get("checkpoint") or {}))
    if checkpoint.get("type") == "CheckpointHook":
        checkpoint["type"] = "SafeCheckpointHook"
    if cfg.get("val_cfg"):
        checkpoint.setdefault("save_best", "auto")
    own = {name: dict(type=kind) for name, kind in OWN_HOOKS.items()}
    cfg.default_hooks = {**own, **hooks, "checkpoint": checkpoint}
    visualizer = dict(cfg.get("visualizer") or dict(type="Visualizer"))
    backends = list(visualizer.get("vis_backends") or [dict(type="LocalVisBackend")])
    if all(backend["type"] != "TensorboardVisBackend" for backend in backends):
        backends.append(dict(type="TensorboardVisBackend"))
    cfg.visualizer = dict(visualizer, vis_backends=backends)
    cfg.env_cfg = dict(cfg.get("env_cfg") or dict(dist_cfg=dict(backend="nccl")))
    # mmengine keeps loggers and visualizers by this name, which two runs begun in one second would share
    cfg.setdefault("experiment_name", f"{Path(cfg.filename or 'run').stem}_{uuid.uuid4().hex[:8]}")
    randomness = dict(cfg.get("randomness") or {})
    if seed is not None:
        randomness["seed"] = seed
    cfg.randomness = dict(dict(seed=0), **randomness)


def move_data_root(cfg: Config, root: str) -> None:
    """Make every path below the configuration's `data_root` lie below `root` instead."""
    old = cfg.get("data_root")
    if not old:
        raise UserError(f"--data-root: {cfg.filename} has no data_root to replace; use --cfg-options")
    new = str(Path(root)) + "/"

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(child) for key, child in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(moved(child) for child in value)
        return new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value

    for key, value in moved(cfg._cfg_dict.to_dict()).items():
        cfg[key] = value


def use_bfloat16(cfg: Config) -> None:
    """Turn the configuration's optimizer wrapper, or each of several, into the bfloat16 one."""
    several = "optimizer" not in cfg.optim_wrapper
    parts = [one for one in cfg.optim_wrapper.values() if isinstance(one, dict)] if several else [cfg.optim_wrapper]
    for part in parts:
        kind = part.get("type", "OptimWrapper")
        if kind not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
            raise UserError(f"--amp: optim_wrapper.type {kind!r} has no bfloat16 form")
        for key in ("loss_scale", "dtype"):
            part.pop(key, None)
        part["type"] = "BFloat16OptimWrapper"


def make_work_dir(work_dir: Path) -> None:
    """Make the folder that a run writes to. Raises `UserError` where nothing can be written."""
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir) as probe:
            probe.write(b"x")
    except OSError as error:
        raise UserError(f"--work-dir {work_dir}: cannot write there: {error.strerror}") from error


def last_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that the run in `work_dir` saved last, also if the folder has been moved since."""
    note = work_dir / "last_checkpoint"
    name = note.read_text().strip() if note.is_file() else ""
    for path in (Path(name), work_dir / Path(name).name) if name else ():
        if path.is_file():
            return path
    saved = [path for pattern in ("epoch_*.pth", "iter_*.pth", "stopped.pth") for path in work_dir.glob(pattern)]
    return max(saved, key=lambda path: path.stat().st_mtime, default=None)


def start_processes(launcher: str) -> None:
    """Join the other processes of a CPU run over gloo; on GPUs mmengine does it, over NCCL."""
    import torch

    if launcher == "pytorch" and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        if "RANK" not in os.environ:
            raise UserError("--launcher pytorch: start it as torchrun --nproc_per_node N tools/train.py ...")
        torch.distributed.init_process_group("gloo")
    if launcher == "slurm" and "SLURM_PROCID" not in os.environ:
        raise UserError("--launcher slurm: start it with srun, which tells each process its number")


def adapt_strategy(cfg: Config) -> None:
    """Take out what mmengine's `FlexibleRunner` cannot do, and let FSDP run on CPUs, where it would ask for a GPU."""
    import torch

    for name in ("reproducible", "stop"):  # both rely on the attributes and signatures of the plain Runner
        cfg.default_hooks.pop(name, None)
    cfg.default_hooks["checkpoint"]["type"] = "CheckpointHook"
    if cfg.strategy.get("type") == "FSDPStrategy" and not torch.cuda.is_available():
        cfg.strategy.setdefault("model_wrapper", dict(type="MMFullyShardedDataParallel"))["device_id"] = "cpu"


def end_processes() -> None:
    """Wait for the other processes of the run and part from them: a connection left to the exit can abort it."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def build_runner(cfg: Config, unsafe: bool = False) -> Any:
    """The Runner of `cfg`: `ToolkitRunner`, or mmengine's `FlexibleRunner` where the configuration names it.

    Raises `UserError` with the key path for a type or an argument that the configuration gets wrong. `unsafe` lets
    checkpoints with code in them through.
    """
    from mmengine.registry import RUNNERS

    from toolkit.checkpoint import guard_runner

    guard_runner(unsafe)
    start_processes(cfg.get("launcher", "none"))
    load_scope(cfg)
    warnings.filterwarnings("ignore", message="torch.meshgrid")  # mmdet's, at every step
    if cfg.get("runner_type") == "FlexibleRunner":
        adapt_strategy(cfg)
    else:
        cfg["runner_type"] = "ToolkitRunner"
    with config_errors(cfg):
        runner = RUNNERS.build(cfg)
    runner.unsafe_checkpoint = unsafe
    return runner
