"""ASPP: parallel convolutions of several dilations and the mean of the whole map.

Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv 1706.05587.

    y = project [conv1x1(x) ; conv3x3_d(x) for each dilation d ; conv1x1(mean(x))]
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ASPP(nn.Module):
    """Atrous spatial pyramid pooling; all convolutions without bias and with ReLU.

    Args:
        in_channels: of the input.
        out_channels: of each branch and of the output.
        dilations: of the branches; 1 stands for a 1x1 convolution.
        norm_cfg: of every convolution; None for none. With a batch norm, training needs at least two pictures at a
            time: the mean of one has no spread.
        dropout: share of the output's values that are dropped in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        dilations: Sequence[int] = (1, 6, 12, 18),
        norm_cfg: dict | None = dict(type="BN"),
        dropout: float = 0.5,
    ):
        super().__init__()

        def conv(in_channels: int, dilation: int = 1) -> ConvModule:
            size, padding = (1, 0) if dilation == 1 else (3, dilation)
            return ConvModule(
                in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False, norm_cfg=norm_cfg
            )

        self.branches = nn.ModuleList(conv(in_channels, dilation) for dilation in dilations)
        self.mean_branch = conv(in_channels)
        self.project = conv((len(dilations) + 1) * out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mean: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W).

        Args:
            x: the map.
            mean: (B, in_channels, 1, 1) of the whole map, where `x` is a piece of it.
        """
        mean = x.mean((2, 3), keepdim=True) if mean is None else mean
        mean = self.mean_branch(mean).expand(-1, -1, *x.shape[2:])
        return self.dropout(self.project(torch.cat([*(branch(x) for branch in self.branches), mean], 1)))
