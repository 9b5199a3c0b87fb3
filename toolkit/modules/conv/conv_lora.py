"""ConvLoRA: a frozen convolution plus a learned change of low rank, which merges into it.

LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv 2106.09685; for convolutions as in
Distillation-Supervised Convolutional Low-Rank Adaptation for Efficient Image Super-Resolution, CVPRW 2025,
arXiv 2504.11271.

    y = conv(x; W + (alpha / r) B A)        A: r k x C_in k / groups, random        B: C_out k' x r k, zero
"""

import math
import re

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


class LowRank:
    """What the three sizes share. State dicts have the keys of the plain convolution and `lora_a`, `lora_b`, so
    weights of a plain network load as they are (with the new keys missing).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        rank: int = 4,
        alpha: float | None = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        if rank < 1:
            raise ValueError(f"{type(self).__name__}: rank must be at least 1, got {rank}")
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        side = self.kernel_size[0]
        rows = self.weight.shape[0] * side
        self.scale = (rank if alpha is None else alpha) / rank
        self.lora_a = nn.Parameter(self.weight.new_empty(rank * side, self.weight.numel() // rows))
        self.lora_b = nn.Parameter(self.weight.new_zeros(rows, rank * side))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    @classmethod
    def from_conv(cls, conv: nn.Module, rank: int = 4, alpha: float | None = None) -> "LowRank":
        """The convolution with the weights of `conv`, and the same outputs until it has learned."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        args = {name: getattr(conv, name) for name in names}
        ours = cls(**args, bias=conv.bias is not None, padding_mode=conv.padding_mode, rank=rank, alpha=alpha)
        ours.load_state_dict(conv.state_dict(), strict=False)
        return ours.to(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.adapted_weight(), self.bias)

    def adapted_weight(self) -> Tensor:
        """The kernel with its change."""
        if self.lora_b is None:
            return self.weight
        return self.weight + self.scale * (self.lora_b @ self.lora_a).view(self.weight.shape)

    def switch_to_deploy(self) -> None:
        """Merge the change into the kernel: a plain convolution from here on."""
        with torch.no_grad():
            self.weight.copy_(self.adapted_weight())
        self.lora_a = self.lora_b = None


@MODELS.register_module()
class ConvLoRA1d(LowRank, nn.Conv1d):
    """nn.Conv1d with its arguments, frozen, and a learned change.

    Args:
        rank: r; the change has rank r k at most.
        alpha: scale of the change, times r; None for r.

    Raises:
        ValueError: `rank` below 1.
    """

    EXAMPLE = dict(input=(2, 64, 50))


@MODELS.register_module()
class ConvLoRA2d(LowRank, nn.Conv2d):
    """nn.Conv2d with its arguments, frozen, and a learned change. Arguments as of `ConvLoRA1d`."""


@MODELS.register_module()
class ConvLoRA3d(LowRank, nn.Conv3d):
    """nn.Conv3d with its arguments, frozen, and a learned change. Arguments as of `ConvLoRA1d`."""

    EXAMPLE = dict(input=(2, 64, 4, 7, 7))


SIZES = {nn.Conv1d: ConvLoRA1d, nn.Conv2d: ConvLoRA2d, nn.Conv3d: ConvLoRA3d}


def add_conv_lora(model: nn.Module, layers: str = "", rank: int = 4, alpha: float | None = None) -> list[str]:
    """Give convolutions of a trained network a change of low rank, and freeze everything else, in place.

    Args:
        model: any network that holds nn.Conv1d, 2d or 3d, which are replaced.
        layers: regular expression, searched for in their names; empty for all.
        rank, alpha: as of the layers.

    Returns:
        The names of the replaced convolutions.

    Raises:
        ValueError: `layers` fits no convolution.
    """
    model.requires_grad_(False)
    found = [name for name, module in model.named_modules() if type(module) in SIZES and re.search(layers, name)]
    if not found:
        raise ValueError(f"add_conv_lora: no convolution has a name with {layers!r}")
    for name in found:
        conv = model.get_submodule(name)
        model.set_submodule(name, SIZES[type(conv)].from_conv(conv, rank, alpha).train(conv.training))
    return found
