"""D2 and D3 blocks: dense connections whose dilation grows with the distance that a feature has come.

Densely Connected Multidilated Convolutional Networks for Dense Prediction Tasks, CVPR 2021, arXiv 2011.11844; before
it D3Net: Densely connected multidilated DenseNet for music source separation, arXiv 2010.01733.

    D2:  h_0 = x,   h_{i + 1} = sum over j <= i of conv(relu(norm_j(h_j)), dilation 2^j),   y = h_L

A layer thus reads each earlier one at a dilation that its receptive field bears without aliasing. A D3 block connects
D2 blocks as densely as a D2 block its layers.
"""

from collections.abc import Callable

from mmengine.registry import MODELS
from torch import Tensor, nn


def densely_connected(x: Tensor, stages: int, width: int, stage: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The last of several stages of which each takes in all before it.

    Stage i gives what it adds to each of the stages after it, so that no channels have to be put together; the last
    one gives the result.

    Args:
        x: (B, C, H, W), what stage 0 takes.
        stages: their number.
        width: channels of what the other stages take, and of the result.
        stage: (i, input) -> (B, width * (stages - i), H, W), in the order of the stages that it goes to.
    """
    sums: list[Tensor] = []  # of what has come so far for the stages ahead
    for i in range(stages):
        parts = stage(i, x).split(width, 1)
        sums = [old + new for old, new in zip(sums[1:], parts, strict=True)] if sums else list(parts)
        x = sums[0]
    return x


@MODELS.register_module()
class D2Block(nn.Module):
    """Densely connected convolutions of dilations 1, 2, 4 ...; the last layer's output leaves.

    One norm and ReLU stand behind each source, shared by all the layers that read it.

    Args:
        in_channels: C of the input.
        growth_rate: channels of each layer.
        num_layers: L.
        kernel_size: of all convolutions, odd.
    """

    EXAMPLE = dict(args=dict(growth_rate=64, num_layers=3))

    def __init__(self, in_channels: int, growth_rate: int, num_layers: int, kernel_size: int = 3):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"D2Block: kernel_size must be odd, got {kernel_size}")
        self.growth_rate = growth_rate
        channels = [in_channels] + [growth_rate] * (num_layers - 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(
                count,
                growth_rate * (num_layers - i),
                kernel_size,
                padding=2**i * (kernel_size // 2),
                dilation=2**i,
            )
            for i, count in enumerate(channels)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, growth_rate, H, W)
        def layer(i: int, x: Tensor) -> Tensor:
            return self.convs[i](self.norms[i](x).relu_())

        return densely_connected(x, len(self.convs), self.growth_rate, layer)


@MODELS.register_module()
class D3Block(nn.Module):
    """Densely connected D2 blocks; the last one's output leaves.

    Args:
        in_channels: C of the input.
        growth_rate: channels that each D2 block gives to each one after it, and of the output.
        num_layers: L of each D2 block.
        num_blocks: number of D2 blocks.
        kernel_size: of all convolutions, odd.
    """

    EXAMPLE = dict(args=dict(growth_rate=64, num_layers=2, num_blocks=2))

    def __init__(self, in_channels: int, growth_rate: int, num_layers: int, num_blocks: int, kernel_size: int = 3):
        super().__init__()
        self.growth_rate = growth_rate
        channels = [in_channels] + [growth_rate] * (num_blocks - 1)
        self.blocks = nn.ModuleList(
            D2Block(count, growth_rate * (num_blocks - i), num_layers, kernel_size) for i, count in enumerate(channels)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, growth_rate, H, W)
        return densely_connected(x, len(self.blocks), self.growth_rate, lambda i, x: self.blocks[i](x))
