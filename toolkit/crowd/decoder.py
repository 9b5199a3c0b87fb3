"""What M-SFANet and M-SegNet share: the seven convolutions of a decoder, and attention that gates density."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from toolkit.backbones.vgg import conv_block


class Decoder(nn.Module):
    """Three stages of a 1x1 convolution over what is joined and 3x3 convolutions: at 1/8, 1/4 and 1/2 of the picture.

    Args:
        in_channels: of the joined maps of the three stages.
        out_channels: of the first stage; halved at each further one, and halved once more in the last.
        norm: batch norm after every convolution.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, norm: bool):
        super().__init__()
        first, second, third = in_channels
        a, b, c, d = (max(1, out_channels // 2**i) for i in range(4))
        self.conv1 = conv_block(first, a, 1, norm)
        self.conv2 = conv_block(a, a, 3, norm)
        self.conv3 = conv_block(second, b, 1, norm)
        self.conv4 = conv_block(b, b, 3, norm)
        self.conv5 = conv_block(third, c, 1, norm)
        self.conv6 = conv_block(c, c, 3, norm)
        self.conv7 = conv_block(c, d, 3, norm)
        self.out_channels = d

    def eighth(self, *maps: Tensor) -> Tensor:
        return self.conv2(self.conv1(torch.cat(maps, 1)))

    def quarter(self, *maps: Tensor) -> Tensor:
        return self.conv4(self.conv3(torch.cat(maps, 1)))

    def half(self, *maps: Tensor) -> Tensor:
        return self.conv7(self.conv6(self.conv5(torch.cat(maps, 1))))


def output_conv(in_channels: int) -> nn.Conv2d:
    """1x1 convolution to a single map, its weights from N(0, 0.01)."""
    conv = nn.Conv2d(in_channels, 1, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    return conv


class GatedHead(nn.Module):
    """Density from features that attention gates.

        attention = sigmoid(norm(conv(a))),   density = conv(attention * d)

    The density may be negative, as published.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv_att = nn.Sequential(output_conv(in_channels), nn.BatchNorm2d(1))
        self.conv_out = output_conv(in_channels)

    def forward(self, attended: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps (B, C, H, W) -> density and attention, (B, 1, H, W) each."""
        attention = self.conv_att(attended).sigmoid()
        return self.conv_out(attention * features), attention


def check_size(x: Tensor, name: str, least: int) -> None:
    """Raises `ValueError` for a picture that the network would halve to nothing."""
    if min(x.shape[2:]) < least:
        raise ValueError(f"{name}: pictures must be at least {least} pixels wide and high, got {tuple(x.shape[2:])}")
