"""ARCResNet: a ResNet whose bottlenecks convolve with ARC, except in the first stage.

Adaptive Rotated Convolution for Rotated Object Detection, ICCV 2023, arXiv 2303.07820.
"""

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import nn

from toolkit.modules.conv.arc import ARC
from toolkit.ops import load_mmdet

load_mmdet()

from mmdet.models.backbones import ResNet  # noqa: E402
from mmdet.models.backbones.resnet import Bottleneck  # noqa: E402


@MODELS.register_module()
class ARCResNet(ResNet):
    """mmdet's ResNet of bottlenecks, and its arguments, with ARC for 3x3 convolutions.

    The authors train it with half the learning rate of the rest (`paramwise_cfg`, `backbone=dict(lr_mult=0.5)`).

    Args:
        depth: 50, 101 or 152.
        arc_blocks: for each stage the numbers of its blocks that have ARC; None takes all but the first stage's.
        kernel_number: of ARC.

    Raises:
        ValueError: `depth` has no bottlenecks, or `arc_blocks` does not fit it.
    """

    def __init__(
        self, depth: int, *args, arc_blocks: Sequence[Sequence[int]] | None = None, kernel_number: int = 4, **kwargs
    ):
        block, sizes = self.arch_settings.get(depth, (None, ()))
        if block is not Bottleneck:
            raise ValueError(f"ARCResNet: depth must be 50, 101 or 152, got {depth}")
        if arc_blocks is None:
            arc_blocks = [range(size) if stage else () for stage, size in enumerate(sizes)]
        if len(arc_blocks) > len(sizes) or any(
            not 0 <= i < size for chosen, size in zip(arc_blocks, sizes, strict=False) for i in chosen
        ):
            raise ValueError(f"ARCResNet: stages have {sizes} blocks, got arc_blocks {arc_blocks}")
        self.arc_blocks, self.kernel_number = tuple(arc_blocks), kernel_number
        super().__init__(depth, *args, **kwargs)

    def make_res_layer(self, **kwargs) -> nn.Sequential:
        layer = super().make_res_layer(**kwargs)
        stage = len(self.res_layers)
        for i in self.arc_blocks[stage] if stage < len(self.arc_blocks) else ():
            conv = layer[i].conv2
            geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
            layer[i].conv2 = ARC(conv.in_channels, conv.out_channels, *geometry, kernel_number=self.kernel_number)
        return layer

    def train(self, mode: bool = True) -> "ARCResNet":
        super().train(mode)
        return self  # which mmdet's forgets
