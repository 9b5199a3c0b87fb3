"""Trained models as functions from pictures or recordings to typed results.

from toolkit import load_model

model = load_model("yolo_ms_xs_80e_bccd", "best.pth")
found = model.predict("blood.jpg").filter(score_thr=0.3)
print(found.names, found.boxes)
"""

from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import nn

from toolkit.checkpoint import load_checkpoint, load_into
from toolkit.config import (
    CHECKPOINT_ENDINGS,
    FORMATS,
    check_types,
    config_errors,
    config_from_text,
    load_config,
    load_scope,
    set_scope,
)
from toolkit.data.pipeline import tested_dataset
from toolkit.errors import UserError
from toolkit.published.weights import state_dict_of

if TYPE_CHECKING:
    from toolkit.audio.inferencer import AudioProcessor
    from toolkit.classification.inferencer import Classifier
    from toolkit.crowd.inferencer import Counter
    from toolkit.detection.inferencer import Detector
    from toolkit.segmentation.inferencer import Segmenter

# By the base class of the built network: the module and the class that wrap it.
TASKS = {
    "BaseDetector": ("toolkit.detection.inferencer", "Detector"),
    "BaseSegmentor": ("toolkit.segmentation.inferencer", "Segmenter"),
    "CrowdCounter": ("toolkit.crowd.inferencer", "Counter"),
    "ImageClassifier": ("toolkit.classification.inferencer", "Classifier"),
}


def load_model(
    config_or_name: str | Path,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    unsafe: bool = False,
    deploy: bool = False,
) -> "Detector | Segmenter | Counter | Classifier | AudioProcessor":
    """A model ready to predict.

    Args:
        config_or_name: a config file, the name of a shipped config, or alone a checkpoint of ours, which carries its
            config.
        checkpoint: ours or the authors' own. None with a config: random weights, for timing and tests.
        device: "cpu", "cuda", "cuda:1", "mps"; None for a GPU where there is one.
        unsafe: let checkpoints with code in them through; see `toolkit.checkpoint.load_checkpoint`.
        deploy: bring the network into its faster inference form; see `toolkit.deploy.deploy`. Audio networks always
            are, and cannot be trained further.

    Raises:
        UserError: the config or the checkpoint cannot be used, they do not fit each other, or there is no such device.
    """
    place = find_device(device)
    if checkpoint is None and is_checkpoint(config_or_name):
        checkpoint = config_or_name
        config = config_of_checkpoint(checkpoint, unsafe)
    else:
        config = load_config(config_or_name)
    _load_scope(config)
    network = _build(config)
    if _audio_network(network) is not None:
        return _audio_processor(network, config, checkpoint, place, unsafe)
    meta = load_into(network, checkpoint, unsafe).meta if checkpoint is not None else {}
    classes = class_names(config, meta, network, checkpoint)
    task_class = _task_class(network)
    network = network.to(place).eval().requires_grad_(False)
    if deploy:
        from toolkit.deploy import deploy as deployed

        network = deployed(network)
    return task_class(network, config, classes)


def is_checkpoint(path: str | Path) -> bool:
    """Whether `path` is the name of a checkpoint rather than of a config."""
    path = Path(path).expanduser()
    return path.suffix in CHECKPOINT_ENDINGS or (path.is_file() and path.suffix not in FORMATS)


def find_device(name: str | None) -> torch.device:
    """The device `name`, by default a GPU where there is one.

    Raises:
        UserError: no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name!r} is not on this machine; use 'cpu'") from error
    return device


def config_of_checkpoint(path: str | Path, unsafe: bool = False) -> Config:
    """The config in a checkpoint that this toolkit or mmengine trained, read without running code.

    Raises:
        UserError: see `load_checkpoint`; or the checkpoint carries no config, or one that is not plain data.
    """
    meta = load_checkpoint(path, unsafe).get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str) or "model" not in text:
        raise UserError(f"{path} carries no config; give the config before it")
    config = config_from_text(text, path)
    _load_scope(config)
    for part in ("model", *(key for key in ("test_dataloader", "val_dataloader") if key in config)):
        check_types(config[part], path, part)
    return config


def _load_scope(config: Config) -> None:
    """`load_scope`, except for our own audio, video and crowd models, which need none of the slow libraries."""
    kind = config.get("model", {}).get("type")
    own = isinstance(kind, str) and kind in MODELS.module_dict and MODELS.module_dict[kind].__module__
    if own and own.startswith(("toolkit.audio.", "toolkit.video.", "toolkit.crowd.")):
        set_scope("mmengine")
    else:
        load_scope(config)


def _build(config: Config) -> nn.Module:
    if "model" not in config:
        raise UserError(f"{config.filename or 'the config'} has no 'model'")
    with config_errors(config):
        return MODELS.build(deepcopy(config.model))  # building changes it


def _task_class(network: nn.Module) -> Any:
    for base in type(network).__mro__:
        if base.__name__ in TASKS:
            module, name = TASKS[base.__name__]
            return getattr(import_module(module), name)
    raise UserError(f"model.type: {type(network).__name__} has no inference here; supported are {', '.join(TASKS)}")


def _audio_network(network: nn.Module) -> nn.Module | None:
    """The network itself or the one in an `AudioModel`, if it maps recordings to recordings."""
    inner = getattr(network, "network", network)
    return inner if all(hasattr(inner, name) for name in ("sample_rate", "inputs", "outputs")) else None


def _audio_processor(
    model: nn.Module, config: Config, checkpoint: str | Path | None, place: torch.device, unsafe: bool
) -> "AudioProcessor":
    from toolkit.audio.inferencer import AudioProcessor
    from toolkit.deploy import deploy

    network = _audio_network(model)
    if checkpoint is not None:
        keys = state_dict_of(load_checkpoint(checkpoint, unsafe), checkpoint)
        trained = any(key.startswith("network.") for key in keys)  # published weights are those of the network alone
        load_into(model if trained else network, checkpoint, unsafe)
    return AudioProcessor(deploy(network.to(place)), config)


def count_classes(network: nn.Module) -> int | None:
    """The number of classes of a detector's, segmentor's or classifier's last head; None when it does not say."""
    for name in ("roi_head.bbox_head", "roi_head.bbox_head.0", "bbox_head", "decode_head", "mask_head", "head"):
        head: Any = network
        for part in name.split("."):
            head = head[int(part)] if part.isdigit() and isinstance(head, nn.ModuleList) else getattr(head, part, None)
        if isinstance(getattr(head, "num_classes", None), int):
            return head.num_classes
    return None


def class_names(
    config: Config, meta: dict[str, Any], network: nn.Module, checkpoint: str | Path | None
) -> tuple[str, ...]:
    """Names of the classes, from the checkpoint, else the config, else the dataset's own, else numbers.

    Raises:
        UserError: the list has another length than the model has classes.
    """
    count = count_classes(network)
    dataset = tested_dataset(config)
    kind = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
    lists = {
        f"{checkpoint} lists": _upper_or_lower(meta.get("dataset_meta") or meta),
        f"{config.filename or 'the config'} lists": _upper_or_lower(dataset.get("metainfo") or {}),
        f"the data set {dataset.get('type')} has": _upper_or_lower(getattr(kind, "METAINFO", {})),
    }
    for origin, names in lists.items():
        if not names:
            continue
        if count is not None and len(names) != count:
            raise UserError(f"{origin} {len(names)} classes ({', '.join(names[:4])} ...), the model has {count}")
        return names
    return tuple(f"class {number}" for number in range(count or 0))


def _upper_or_lower(meta: dict[str, Any]) -> tuple[str, ...]:
    """`classes`, which older checkpoints and data sets call `CLASSES`; one name may stand as a string."""
    names = meta.get("classes") or meta.get("CLASSES") or ()
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)
