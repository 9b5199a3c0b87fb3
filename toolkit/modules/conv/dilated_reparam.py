"""DilatedReparamBlock: a large depthwise kernel trained beside small dilated ones, which it takes in for inference.

UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video, Point Cloud, Time-Series and Image
Recognition, CVPR 2024, arXiv 2311.15599.

    y = bn(dw_KxK(x)) + sum over (k, d) of bn_kd(dw_kxk with dilation d(x))
    inference: one dw_KxK, to whose kernel each dilated one is added with zeros between its taps
"""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

BRANCHES = {  # K -> (k, d) of the dilated branches
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    7: ((5, 1), (3, 2), (3, 3)),
}


@MODELS.register_module()
class DilatedReparamBlock(nn.Module):
    """Depthwise convolution with a large kernel.

    Args:
        in_channels: C of the input and the output.
        kernel_size: K, one of 7, 9, 11, 13, 15, 17.

    Raises:
        ValueError: the paper has no branches for `kernel_size`.
    """

    EXAMPLE = dict(args=dict(kernel_size=13))

    def __init__(self, in_channels: int, kernel_size: int = 13):
        super().__init__()
        if kernel_size not in BRANCHES:
            sizes = ", ".join(map(str, sorted(BRANCHES)))
            raise ValueError(f"DilatedReparamBlock: kernel_size must be one of {sizes}, got {kernel_size}")
        self.branches = BRANCHES[kernel_size]
        self.lk_origin = depthwise(in_channels, kernel_size)
        self.origin_bn = nn.BatchNorm2d(in_channels)
        for size, dilation in self.branches:
            self.add_module(f"dil_conv_k{size}_{dilation}", depthwise(in_channels, size, dilation))
            self.add_module(f"dil_bn_k{size}_{dilation}", nn.BatchNorm2d(in_channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        out = self.origin_bn(self.lk_origin(x))
        for conv, norm in self._dilated():
            out = out + norm(conv(x))
        return out

    def _dilated(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        names = [f"k{size}_{dilation}" for size, dilation in self.branches]
        return [(getattr(self, f"dil_conv_{name}"), getattr(self, f"dil_bn_{name}")) for name in names]

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Leave one convolution with a bias, `lk_origin`."""
        if self.lk_origin.bias is not None:
            return
        weight, bias = folded(self.lk_origin, self.origin_bn)
        for conv, norm in self._dilated():
            small, shift = folded(conv, norm)
            weight, bias = weight + widened(small, conv.dilation[0], weight.shape[-1]), bias + shift
        self.lk_origin = with_weights(self.lk_origin, weight, bias)
        self.origin_bn = nn.Identity()
        for size, dilation in self.branches:
            delattr(self, f"dil_conv_k{size}_{dilation}")
            delattr(self, f"dil_bn_k{size}_{dilation}")
        self.branches = ()


def depthwise(channels: int, kernel_size: int, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    """A depthwise convolution that keeps the size; `kernel_size` is odd."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels, bias=bias)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of `conv` followed by `norm` in evaluation."""
    return fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def widened(kernel: Tensor, dilation: int, size: int) -> Tensor:
    """A dilated kernel (C, 1, k, k) as a dense one (C, 1, size, size) with zeros between its taps and around them."""
    dense = kernel.new_zeros(*kernel.shape[:2], *((side - 1) * dilation + 1 for side in kernel.shape[2:]))
    dense[..., ::dilation, ::dilation] = kernel
    return F.pad(dense, ((size - dense.shape[-1]) // 2,) * 4)


def with_weights(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution like the depthwise `conv` with this weight and bias."""
    new = depthwise(conv.in_channels, conv.kernel_size[0], bias=True).to(weight)
    new.weight, new.bias = (
        nn.Parameter(value.detach(), requires_grad=conv.weight.requires_grad) for value in (weight, bias)
    )
    return new.train(conv.training)
