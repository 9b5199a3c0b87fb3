"""ECAResNet: a ResNet with efficient channel attention at the end of every residual branch.

ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020, arXiv 1910.03151.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from toolkit.modules.attention.eca import ECA
from toolkit.ops import load_mmdet

load_mmdet()

from mmdet.models.backbones import ResNet  # noqa: E402
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck  # noqa: E402
from mmdet.models.layers import ResLayer  # noqa: E402

PUBLISHED = {18: (3, 5, 7, 7), 34: (3, 3, 5, 7), 50: (3, 5, 5, 7), 101: (3, 3, 5, 7), 152: (3, 3, 5, 7)}


class ECABasicBlock(BasicBlock):
    """mmdet's, which takes no plugins, with ECA after the second norm."""

    def __init__(self, inplanes: int, planes: int, *args: Any, kernel_size: int, **kwargs: Any):
        super().__init__(inplanes, planes, *args, **kwargs)
        self.eca = ECA(planes, kernel_size)

    def branch(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.eca(y) + (x if self.downsample is None else self.downsample(x))

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return self.relu(checkpoint(self.branch, x, use_reentrant=False))
        return self.relu(self.branch(x))


class ECABottleneck(Bottleneck):
    """mmdet's with ECA after the third norm."""

    def __init__(self, *args: Any, kernel_size: int, plugins: Sequence[dict] | None = None, **kwargs: Any):
        eca = dict(cfg=dict(type="ECA", kernel_size=kernel_size), position="after_conv3")
        super().__init__(*args, plugins=[eca, *(plugins or ())], **kwargs)


@MODELS.register_module()
class ECAResNet(ResNet):
    """mmdet's ResNet, and its arguments, with ECA. The authors' checkpoints load as they are.

    Args:
        depth: 18, 34, 50, 101 or 152.
        kernel_sizes: taps of ECA in each stage; None for the published ones, which differ from the paper's rule.
    """

    arch_settings = {
        depth: (ECABasicBlock if block is BasicBlock else ECABottleneck, sizes)
        for depth, (block, sizes) in ResNet.arch_settings.items()
    }

    def __init__(self, depth: int, *args: Any, kernel_sizes: Sequence[int] | None = None, **kwargs: Any):
        if depth not in PUBLISHED:
            raise ValueError(f"ECAResNet: depth must be among {', '.join(map(str, PUBLISHED))}, got {depth}")
        self.kernel_sizes = tuple(kernel_sizes or PUBLISHED[depth])
        super().__init__(depth, *args, **kwargs)

    def make_res_layer(self, **kwargs: Any) -> nn.Sequential:
        return ResLayer(kernel_size=self.kernel_sizes[len(self.res_layers)], **kwargs)

    def train(self, mode: bool = True) -> "ECAResNet":
        super().train(mode)
        return self  # which mmdet's forgets
