"""SPPF: spatial pyramid pooling by chained poolings.

Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, TPAMI 2015, arXiv 1406.4729, in the
fast form of the YOLO family: three chained k x k poolings see k, 2k - 1 and 3k - 2 pixels.

    y = conv1x1(concat(z, p(z), p(p(z)), p(p(p(z)))))    z = conv1x1(x), p = max pooling with stride 1
"""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn


class SPPF(nn.Module):
    """Pool at three sizes and join.

    Args:
        in_channels: channels of the input; half of them are pooled.
        out_channels: channels of the output.
        kernel_size: k, odd.
        norm_cfg: norm of both convolutions.
        act_cfg: activation after both norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        norm_cfg: dict = dict(type="BN", momentum=0.03, eps=0.001),
        act_cfg: dict = dict(type="SiLU", inplace=True),
    ):
        super().__init__()
        hidden = in_channels // 2
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.conv1 = ConvModule(in_channels, hidden, 1, **cfg)
        self.pool = nn.MaxPool2d(kernel_size, stride=1, padding=kernel_size // 2)
        self.conv2 = ConvModule(hidden * 4, out_channels, 1, **cfg)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H, W)
        pooled = [self.conv1(x)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        return self.conv2(torch.cat(pooled, 1))
