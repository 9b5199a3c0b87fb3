"""What makes a network of density trainable by the runner: losses, and the modes that mmengine calls."""

from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from toolkit.crowd.tiles import Tile

IMAGENET = dict(
    type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


@MODELS.register_module()
class CrowdCounter(BaseModel):
    """A network of density with its losses.

    Args:
        network: config of a network: pictures (B, 3, H, W) -> density (B, 1, H / s, W / s), or that and attention of
            the same shape; attribute `stride` is s.
        loss: config of one loss or of several, see `toolkit.crowd.losses`.
        density_scale: the network's output is this many times the density. People per cell are hundredths, for which
            the last weights of a network trained from scratch would have to become tiny first; 1 as published.
        data_preprocessor: ImageNet's mean and deviation of RGB by default.
        init_cfg: see mmengine.
    """

    def __init__(
        self,
        network: dict,
        loss: dict | list[dict] | None = None,
        density_scale: float = 1.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor or dict(IMAGENET), init_cfg)
        self.network = MODELS.build(network).to(memory_format=torch.channels_last)  # faster on a CPU
        self.density_scale = density_scale
        losses = [loss] if isinstance(loss, dict) else loss or []
        self.losses = [MODELS.build(one) for one in losses]

    def forward(
        self, inputs: Tensor, mode: str = "tensor", tile: Tile | None = None, **targets: Any
    ) -> Tensor | list[Tensor] | dict[str, Tensor]:
        """Density of pictures, or its losses.

        Args:
            inputs: (B, 3, H, W), normalised.
            mode: "loss" for a dict of losses, "predict" for a list of densities (1, H / s, W / s), "tensor" for
                them as one tensor.
            tile: where `inputs` lies, if it is a piece of a larger picture.
            targets: what the losses need, by name, one entry for each picture.
        """
        outputs = self.network(inputs) if tile is None else self.network(inputs, tile)
        raw, attention = outputs if isinstance(outputs, tuple) else (outputs, None)
        density = raw.float() / self.density_scale
        if mode == "loss":
            losses: dict[str, Tensor] = {}
            for loss in self.losses:
                losses |= loss(density, attention, targets)
            return losses
        return list(density) if mode == "predict" else density
