"""UNetDecoder: U-Net's expanding path over the maps of any backbone.

U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, arXiv 1505.04597.

    y_n = attention(relu(bn(conv3x3(relu(bn(conv3x3([up(y_{n+1}), x_n])))))),    y_last = x_last

up is bilinear, to the size of x_n. The paper has transposed 2x2 convolutions, unpadded convolutions without norms, and
an encoder of its own from stride 1 on; here the finest result has the stride of the backbone's finest map.

`attention_cfg` recalibrates what each stage gives, where "Concurrent Spatial and Channel 'Squeeze & Excitation' in
Fully Convolutional Networks" (MICCAI 2018, arXiv 1803.02579) puts its blocks in decoders.
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class UNetDecoder(BaseModule):
    """From the coarsest map up: enlarge, join with the next finer map, two convolutions, attention.

    Args:
        in_channels: of the backbone's maps, the finest first.
        channels: of the results, one fewer than maps, the finest first.
        norm_cfg: norm after each convolution.
        attention_cfg: module of attention after each stage, built with its `in_channels`; None for none.
        init_cfg: as in mmengine.

    Raises:
        ValueError: `channels` are not one fewer than `in_channels`, or the maps not as many as `in_channels`.

    Example:
        >>> neck = dict(
        ...     type="UNetDecoder",
        ...     in_channels=(64, 128, 256, 512),
        ...     channels=(64, 128, 256),
        ...     attention_cfg=dict(type="scSE"),
        ... )
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        norm_cfg: dict = dict(type="BN"),
        attention_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if len(channels) != len(in_channels) - 1:
            raise ValueError(
                f"UNetDecoder: channels must be one fewer than the {len(in_channels)} in_channels, got {len(channels)}"
            )
        self.in_channels = tuple(in_channels)
        self.stages = nn.ModuleList()
        for skip, coarser, width in zip(in_channels, (*channels[1:], in_channels[-1]), channels, strict=False):
            stage = nn.Sequential(
                ConvModule(skip + coarser, width, 3, padding=1, norm_cfg=norm_cfg),
                ConvModule(width, width, 3, padding=1, norm_cfg=norm_cfg),
            )
            if attention_cfg is not None:
                stage.append(MODELS.build(dict(attention_cfg, in_channels=width)))
            self.stages.append(stage)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C_n, H_n, W_n), the finest first -> as many less one, of the sizes of the finer ones."""
        if len(features) != len(self.in_channels):
            raise ValueError(f"UNetDecoder: {len(features)} maps for {len(self.in_channels)} in_channels")
        y, results = features[-1], []
        for x, stage in zip(reversed(features[:-1]), reversed(self.stages), strict=True):
            y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
            y = stage(torch.cat([y, x], 1))
            results.append(y)
        return tuple(results[::-1])
