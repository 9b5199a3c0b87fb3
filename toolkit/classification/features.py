"""Networks that give features of pictures: a classifier of a config, or a backbone by its name."""

from collections.abc import Sequence
from pathlib import Path

import timm
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from toolkit.catalogue import entries
from toolkit.checkpoint import load_checkpoint
from toolkit.classification.inferencer import Classifier
from toolkit.config import config_errors, find_config, load_scope, parse_options
from toolkit.errors import UserError, near, some
from toolkit.inference import find_device, is_checkpoint, load_model
from toolkit.published import convert
from toolkit.published.weights import state_dict_of

MARGIN = 256 / 224  # of the shorter side to the square that is cut out, as is usual on ImageNet


def load_extractor(
    name: str,
    checkpoint: str | Path | None = None,
    options: Sequence[str] = (),
    size: int = 224,
    device: str | None = None,
    unsafe: bool = False,
) -> Classifier:
    """A network whose `features` gives the mean over its last map.

    Args:
        name: a config of an `ImageClassifier` or one of our checkpoints, which carries it; or a backbone by the name
            that configs or timm give it.
        checkpoint: of the whole model for a config; of the backbone, alone or in a larger model, for a backbone. None
            for random weights.
        options: arguments of a backbone, as `["arch=tiny", ...]`.
        size: for a backbone: side in pixels of the squares that it sees.
        device: see `toolkit.load_model`.
        unsafe: see `toolkit.checkpoint.load_checkpoint`.

    Raises:
        UserError: there is no such network, it is not of this kind, or the checkpoint does not fit.
    """
    known = [entry.name for entry in entries("backbones")]
    if name in known:
        return _of_backbone(dict(type=name), checkpoint, options, size, device, unsafe)
    if not is_checkpoint(name) and not Path(name).is_file() and timm.is_model(name):
        return _of_backbone(dict(type="TimmBackbone", arch=name), checkpoint, options, size, device, unsafe)
    if not is_checkpoint(name):
        try:
            find_config(name)
        except UserError as error:
            hint = near(name, [*known, *timm.list_models()])
            raise UserError(f"{error}; nor is it a backbone of `toolkit list backbones` or of timm{hint}") from None
    if options:
        raise UserError("--options: are the arguments of a backbone; a config has its own")
    model = load_model(name, checkpoint, device, unsafe)
    if not isinstance(model, Classifier):
        kind = type(model.network).__name__
        raise UserError(f"{name}: model.type is {kind}, not ImageClassifier; name its backbone and its --checkpoint")
    return model


def _of_backbone(
    backbone: dict,
    checkpoint: str | Path | None,
    options: Sequence[str],
    size: int,
    device: str | None,
    unsafe: bool,
) -> Classifier:
    pipeline = [
        dict(type="LoadImage"),
        dict(type="Resize", scale=(10**6, round(MARGIN * size)), keep_ratio=True),
        dict(type="CenterCrop", crop_size=size),
        dict(type="PackClass"),
    ]
    config = Config(
        dict(
            model=dict(type="ImageClassifier", backbone=backbone | parse_options(options)),
            test_dataloader=dict(dataset=dict(type="FolderClassification", pipeline=pipeline)),
        )
    )
    load_scope(config)
    with config_errors(config):
        network = MODELS.build(config.copy().model)
    if checkpoint is not None:
        load_backbone(network.backbone, checkpoint, unsafe)
    return Classifier(network.to(find_device(device)).eval().requires_grad_(False), config, ())


def load_backbone(backbone: nn.Module, path: str | Path, unsafe: bool = False) -> None:
    """Load the weights of a backbone, its own, timm's or the authors'; what a checkpoint has besides is left out.

    Raises:
        UserError: see `load_checkpoint`; or the checkpoint lacks tensors of the backbone.
    """
    state = state_dict_of(load_checkpoint(path, unsafe), path)
    inner = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    state, own = inner or state, backbone.state_dict()
    if hasattr(backbone, "from_published") and not any(key in own for key in state):
        state = backbone.from_published(state)
    else:
        state = convert(state, backbone).state_dict
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    lacking = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    if lacking:
        name = type(backbone).__name__
        raise UserError(f"{path}: {len(lacking)} of the {len(own)} tensors of {name} are not in it ({some(lacking)})")
    backbone.load_state_dict(fitting, strict=False)
