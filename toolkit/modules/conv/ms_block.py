"""MSBlock: channel groups with growing receptive fields.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

    z_0, ..., z_{n-1} = split(conv1x1(x))
    y_0 = z_0
    y_i = IB_i(z_i + y_{i-1})            IB: inverted bottlenecks with a depthwise k x k convolution
    out = conv1x1(concat(y_0, ..., y_{n-1}))
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


class InvertedBottleneck(nn.Module):
    """1x1 to the hidden width, depthwise k x k, 1x1 back: each with norm and activation, and no residual.

    Args:
        channels: C of input and output.
        kernel_size: k, odd.
        expand_ratio: the hidden width is int(C * expand_ratio).
        norm_cfg: norm of every convolution.
        act_cfg: activation after every norm.
    """

    def __init__(self, channels: int, kernel_size: int, expand_ratio: float, norm_cfg: dict, act_cfg: dict):
        super().__init__()
        hidden = int(channels * expand_ratio)
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.in_conv = ConvModule(channels, hidden, 1, **cfg)
        self.mid_conv = ConvModule(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, **cfg)
        self.out_conv = ConvModule(hidden, channels, 1, **cfg)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self.out_conv(self.mid_conv(self.in_conv(x)))


@MODELS.register_module()
class MSBlock(BaseModule):
    """Split, process each group on top of the one before it, and join.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_sizes: one odd k for each channel group; 1 passes the group on as it is.
        in_expand_ratio: all groups together have int(in_channels * in_expand_ratio) // in_down_ratio channels,
            which the number of groups must divide.
        in_down_ratio: see `in_expand_ratio`; the published necks use 2, the backbones 1.
        mid_expand_ratio: hidden width of an inverted bottleneck over its group's width.
        num_layers: inverted bottlenecks in a row in each group whose k is not 1.
        attention_cfg: a registered module that is built with `in_channels` and applied to the output.
        norm_cfg: norm of every convolution.
        act_cfg: activation after every norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] = (1, 3, 3),
        in_expand_ratio: float = 3,
        in_down_ratio: int = 1,
        mid_expand_ratio: float = 2,
        num_layers: int = 3,
        attention_cfg: dict | None = None,
        norm_cfg: dict = dict(type="BN"),
        act_cfg: dict = dict(type="SiLU", inplace=True),
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        width, rest = divmod(int(in_channels * in_expand_ratio) // in_down_ratio, len(kernel_sizes))
        if rest:
            raise ValueError(
                f"MSBlock: in_channels {in_channels} * in_expand_ratio {in_expand_ratio} // in_down_ratio "
                f"{in_down_ratio} = {width * len(kernel_sizes) + rest} channels do not divide into "
                f"{len(kernel_sizes)} groups"
            )
        self.num_groups = len(kernel_sizes)
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.in_conv = ConvModule(in_channels, width * self.num_groups, 1, **cfg)
        self.mid_convs = nn.ModuleList(
            nn.Identity()
            if kernel_size == 1
            else nn.Sequential(
                *(InvertedBottleneck(width, kernel_size, mid_expand_ratio, **cfg) for _ in range(num_layers))
            )
            for kernel_size in kernel_sizes
        )
        self.out_conv = ConvModule(width * self.num_groups, out_channels, 1, **cfg)
        self.attention = MODELS.build(dict(attention_cfg, in_channels=out_channels)) if attention_cfg else None

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H, W)
        outs: list[Tensor] = []
        for group, convs in zip(self.in_conv(x).chunk(self.num_groups, 1), self.mid_convs, strict=True):
            outs.append(convs(group + outs[-1] if outs else group))
        out = self.out_conv(torch.cat(outs, 1))
        return out if self.attention is None else self.attention(out)
