"""mmengine's Runner with the gaps closed that users fall into."""

import contextlib
import copy
import io
import logging
from functools import partial
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DATA_SAMPLERS, DATASETS, RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from toolkit.checkpoint import check_fit, load_checkpoint, load_into
from toolkit.engine.optimizers import first_rate
from toolkit.engine.sampling import ReproducibleDataset, ResumableBatchSampler, ResumableSampler, init_worker
from toolkit.engine.schedules import describe_length, same_schedules
from toolkit.errors import UserError

# Warnings of the libraries that say nothing to a user: they stay in the log file.
NOISE = ("is duplicate. It is skipped", '"FileClient" will be deprecated', "is the alias of")


def _tells_something(record: logging.LogRecord) -> bool:
    return not any(noise in record.getMessage() for noise in NOISE)


def check_class_counts(model: nn.Module, dataset: Any) -> None:
    """Refuse a head whose number of classes is not the data set's: training would fail in its middle, or be wrong."""
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    for name, module in model.named_modules():
        count = getattr(module, "num_classes", None)
        if (
            classes is None
            or not isinstance(count, int)
            or not (name == "head" or name.endswith(("bbox_head", "mask_head", "decode_head")))
        ):
            continue
        if count != len(classes):
            some = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise UserError(f"model.{name}.num_classes is {count}, but the training set has {len(classes)}: {some}")


def check_optimizer(optimizer: torch.optim.Optimizer | None) -> None:
    """Raise `ValueError` when the state that `optimizer` was given is of another kind of optimizer."""
    if optimizer is None:  # several, in a wrapper of their own
        return
    lacking = set(optimizer.defaults).difference(*optimizer.param_groups[:1])
    if lacking:
        raise ValueError(f"{type(optimizer).__name__} needs {', '.join(sorted(lacking))}")


def merge_equal_groups(optimizer: torch.optim.Optimizer) -> None:
    """Make one group of all parameters with equal options; mmengine makes one of each, which costs a call a step."""
    merged: list[dict] = []
    for group in optimizer.param_groups:
        parameters = group.pop("params")
        same = next((other for other in merged if {**other, "params": None} == {**group, "params": None}), None)
        if same is None:
            merged.append({"params": parameters, **group})
        else:
            same["params"] += parameters
    optimizer.param_groups[:] = merged


def hide_wrapper(part: DistributedDataParallel) -> None:
    """Keep "module." out of the names of the weights of a part of a model that is wrapped by itself."""

    def strip(_: nn.Module, state: dict, prefix: str, __: dict) -> None:
        for name in [name for name in state if name.startswith(f"{prefix}module.")]:
            state[prefix + name.removeprefix(f"{prefix}module.")] = state.pop(name)

    def restore(state: dict, prefix: str, *_: Any) -> None:
        for name in [name for name in state if name.startswith(prefix)]:
            state[f"{prefix}module.{name.removeprefix(prefix)}"] = state.pop(name)

    part._register_state_dict_hook(strip)
    part._register_load_state_dict_pre_hook(restore)


class QuietEvaluator(Evaluator):
    """An `Evaluator` that keeps what metrics print (pycocotools' progress and table) off the screen."""

    def evaluate(self, size: int) -> dict:
        with contextlib.redirect_stdout(io.StringIO()):
            return super().evaluate(size)


@RUNNERS.register_module()
class ToolkitRunner(Runner):
    """Runner for every task.

    Beyond mmengine's: an interrupted run that is resumed ends in the same weights as an uninterrupted one, also from
    within an epoch; several CPU processes (gloo) train; checkpoints appear on disk whole or not at all; the console
    shows progress, warnings and results, and the log file in the work directory has everything.
    """

    unsafe_checkpoint = False

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> logging.Logger:
        logging.raiseExceptions = False  # with a full disk: what must be written says so, once
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
                handler.addFilter(_tells_something)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        on_cpu = self.distributed and get_device() == "cpu"
        if on_cpu and model_wrapper_cfg is None:
            unused = self.cfg.get("find_unused_parameters", False)
            return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
        if on_cpu and str(model_wrapper_cfg.get("type")).endswith("DistributedDataParallel"):
            model_wrapper_cfg = {**model_wrapper_cfg, "device_ids": None}  # mmengine would name a GPU
        wrapped = super().wrap_model(model_wrapper_cfg, model)
        for part in model.children():
            if isinstance(part, DistributedDataParallel):
                hide_wrapper(part)
        return wrapped

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(optim_wrapper, dict) and isinstance(getattr(built, "optimizer", None), torch.optim.Optimizer):
            merge_equal_groups(built.optimizer)
        return built

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        if isinstance(evaluator, dict):
            evaluator = [evaluator]
        with contextlib.redirect_stdout(io.StringIO()):
            return QuietEvaluator(evaluator) if isinstance(evaluator, list) else super().build_evaluator(evaluator)

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader:
        if isinstance(dataloader, DataLoader):
            return dataloader
        cfg = copy.deepcopy(dataloader)
        if isinstance(cfg["dataset"], dict):
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells its every step
                cfg["dataset"] = DATASETS.build(cfg["dataset"])
                if hasattr(cfg["dataset"], "full_init"):
                    cfg["dataset"].full_init()
        cfg["dataset"] = ReproducibleDataset(cfg["dataset"])
        if isinstance(cfg["sampler"], dict):
            sampler = DATA_SAMPLERS.build(cfg["sampler"], default_args=dict(dataset=cfg["dataset"], seed=seed))
            cfg["sampler"] = ResumableSampler(sampler, seed or 0)
        if isinstance(cfg.get("batch_sampler"), dict):
            extra = dict(sampler=cfg["sampler"], batch_size=cfg.pop("batch_size"))
            cfg["batch_sampler"] = ResumableBatchSampler(DATA_SAMPLERS.build(cfg["batch_sampler"], default_args=extra))
        cfg.setdefault("worker_init_fn", dict(type=partial(init_worker)))
        if cfg.get("num_workers", 0) == 0:
            cfg["persistent_workers"] = False
        return Runner.build_dataloader(cfg, seed=seed, diff_rank_seed=diff_rank_seed)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        before = first_rate(optim_wrapper)
        super().scale_lr(optim_wrapper, auto_scale_lr)
        if before is None or not is_main_process():
            return
        batch = self.train_dataloader.batch_size or self.cfg.train_dataloader.batch_size
        real = f"{batch} x {self.world_size} processes" if self.world_size > 1 else f"{batch}"
        base = (auto_scale_lr or {}).get("base_batch_size")
        if base is None:
            why = "not scaled: the config gives no auto_scale_lr.base_batch_size"
        elif not auto_scale_lr.get("enable"):
            why = f"not scaled, as asked; the config's is for batch {base}"
        else:
            why = f"config's {before:g} for batch {base}, scaled to the real one"
        print(f"learning rate {first_rate(optim_wrapper):g} at batch {real} ({why})", flush=True)  # noqa: T201

    def build_train_loop(self, loop: Any) -> Any:
        built = super().build_train_loop(loop)
        check_class_counts(getattr(self.model, "module", self.model), built.dataloader.dataset)
        return built

    def load_checkpoint(self, filename: str, map_location: Any = "cpu", strict: bool = False, **kwargs: Any) -> dict:
        model = getattr(self.model, "module", self.model)
        if self._resume:
            return self._load_state(filename, model, map_location)
        loaded = load_into(model, filename, unsafe=self.unsafe_checkpoint, strict=strict)
        checkpoint = dict(meta=loaded.meta, state_dict=model.state_dict())
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self._has_loaded = True
        if loaded.missing and is_main_process():
            print(f"{filename}: {len(loaded.missing)} tensors of the model are not in it and stay as initialised")  # noqa: T201
        return checkpoint

    def _load_state(self, filename: str, model: nn.Module, map_location: Any) -> dict:
        """The checkpoint of the interrupted run, its weights loaded; hooks take their own parts."""
        checkpoint = load_checkpoint(filename, self.unsafe_checkpoint, map_location)
        checkpoint["meta"].pop("config", None)  # mmengine would run it as code
        check_fit(checkpoint, model, filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=False)
        self._has_loaded = True
        if isinstance(self._train_loop, BaseLoop) and self.param_schedulers and checkpoint.get("param_schedulers"):
            self._compare_schedules(filename, checkpoint)
        return checkpoint

    def _compare_schedules(self, filename: str, checkpoint: dict) -> None:
        """Warn where the config's length or schedules are not those of the run that is resumed."""
        if isinstance(self.param_schedulers, dict):
            own = {name: [one.state_dict() for one in part] for name, part in self.param_schedulers.items()}
        else:
            own = [one.state_dict() for one in self.param_schedulers]
        same = same_schedules(own, checkpoint["param_schedulers"])
        length = dict(max_epochs=self.max_epochs, max_iters=self.max_iters)
        now = describe_length(self.train_loop, length)
        was = describe_length(self.train_loop, length | checkpoint["message_hub"]["runtime_info"])
        if not same or now != was:
            self.logger.warning(
                f"{filename} is of a run of {was}, the config's is of {now}: the learning rate keeps to the schedule "
                f"of the checkpoint, which is {'also' if same else 'not'} the config's; "
                "--load-from begins a new run with its weights"
            )

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        try:
            super().resume(filename, *args, **kwargs)
            check_optimizer(getattr(self.optim_wrapper, "optimizer", None))
        except (ValueError, KeyError, AssertionError) as error:  # the last: other optimizers in an `OptimWrapperDict`
            raise UserError(
                f"{filename}: its training state is not of this config ({error}); --load-from begins with its weights"
            ) from error
        if isinstance(self.train_loop, EpochBasedTrainLoop):
            self._skip_batches(self.train_loop.iter - self.train_loop.epoch * len(self.train_dataloader))

    def _skip_batches(self, number: int) -> None:
        """Begin the next epoch `number` batches in: those that the interrupted run had seen."""
        loader = self.train_dataloader
        if isinstance(loader.batch_sampler, ResumableBatchSampler):
            loader.batch_sampler.skip_batches(number)
        else:
            loader.sampler.skip(number * loader.batch_size)
