"""DeepMAD: residual bottlenecks whose widths and depths come from a programme that maximises entropy.

DeepMAD: Mathematical Architecture Design for Deep Convolutional Neural Network, CVPR 2023, arXiv 2303.02165.

    x = relu(bn(conv_1(relu(bn(conv_k(relu(bn(conv_1 x))))))) + skip(x))

A network is a list of its layers, which the authors' search writes as text: a Python literal with the key
`best_structures`. Such a file is an `arch` of `DeepMAD`.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from toolkit.backbones.base import Backbone, drop_path_rates
from toolkit.modules.packed_weight import PacksWeight, has_onednn

CONV, SUPER = "ConvKXBNRELU", "SuperResK1KXK1"
NEEDED = {CONV: ("in", "out", "k", "s"), SUPER: ("in", "out", "k", "s", "btn", "L")}
Layer = dict[str, int | str]


def _network(stem: int, stages: Sequence[tuple[int, int, int, int, int]]) -> list[Layer]:
    """The layers of a stem of `stem` channels and of stages (depth, bottleneck, kernel, out, stride)."""
    layers: list[Layer] = [{"class": CONV, "in": 3, "out": stem, "k": 3, "s": 2}]
    for depth, bottleneck, kernel, out, stride in stages:
        before = layers[-1]["out"]
        layers.append(
            {"class": SUPER, "in": before, "out": out, "k": kernel, "s": stride, "btn": bottleneck, "L": depth}
        )
    return layers


ARCHS = {
    "R18": _network(32, [(1, 40, 5, 96, 2), (6, 40, 5, 384, 2), (9, 64, 5, 384, 2), (10, 104, 3, 1024, 1),
                         (12, 104, 5, 672, 2)]),
    "R34": _network(24, [(1, 24, 5, 128, 2), (10, 48, 5, 512, 2), (13, 88, 5, 896, 2), (11, 104, 5, 1024, 1),
                         (14, 128, 5, 616, 2)]),
    "R50": _network(32, [(1, 40, 5, 128, 2), (11, 48, 5, 512, 2), (12, 88, 5, 872, 2), (13, 104, 5, 1024, 1),
                         (15, 120, 5, 1232, 2)]),
}  # fmt: skip


def parse_structure(text: str) -> list[Layer]:
    """The layers of the first network in the text of a search.

    Raises:
        ValueError: the text is not such a literal.
    """
    try:
        found = ast.literal_eval(text.strip())
        (layers, *_) = found["best_structures"]
        return [dict(layer) for layer in layers]
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"no literal with best_structures, a list of lists of layers ({error})") from None


def structure_of(arch: str | Path | Sequence[Layer]) -> list[Layer]:
    """The layers of a published network, of a text file or of a list, each with all that it needs.

    Raises:
        ValueError: there is no such network or file, or a layer is incomplete or of a class that DeepMAD lacks.
    """
    if isinstance(arch, str | Path) and str(arch) not in ARCHS:
        path = Path(arch)
        if not path.is_file():
            raise ValueError(
                f"DeepMAD: arch must be among {', '.join(ARCHS)} or a file of a network, got {str(arch)!r}"
            )
        try:
            layers = parse_structure(path.read_text())
        except (ValueError, OSError) as error:
            raise ValueError(f"DeepMAD: {path}: {error}") from None
    else:
        layers = [dict(layer) for layer in (ARCHS[str(arch)] if isinstance(arch, str | Path) else arch)]
    for i, layer in enumerate(layers):
        kind = layer.get("class")
        if kind not in NEEDED:
            raise ValueError(f"DeepMAD: layer {i}: class must be among {', '.join(NEEDED)}, got {kind!r}")
        lacking = [name for name in NEEDED[kind] if not isinstance(layer.get(name), int)]
        if lacking:
            raise ValueError(f"DeepMAD: layer {i}: {kind} needs whole numbers {', '.join(lacking)}")
        if i and layer["in"] != layers[i - 1]["out"]:
            raise ValueError(f"DeepMAD: layer {i}: in is {layer['in']}, the layer before gives {layers[i - 1]['out']}")
    if not layers or layers[0]["class"] != CONV:
        raise ValueError(f"DeepMAD: layer 0 must be a {CONV}")
    return layers


class ConvNorm(nn.Module):
    """A convolution without bias, a batch norm and, where told, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, has_act: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True) if has_act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn1(self.conv1(x)))


class FusedConv(PacksWeight):
    """A convolution with its norm folded in and, where told, ReLU, for inference.

    On a CPU, in float32, it is one call of oneDNN: the sum with the skip and the activation go with the convolution,
    and the weights are brought into oneDNN's own order once for a size of picture, instead of at each call. Elsewhere
    (GPU, autocast, gradients, compilation, export) it is made of plain operators.

    Args:
        conv: the folded convolution.
        has_act: ReLU at the end.
    """

    def __init__(self, conv: nn.Conv2d, has_act: bool):
        super().__init__(conv.weight, conv.bias)
        self.shape = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.has_act = has_act

    @classmethod
    def of(cls, layer: ConvNorm) -> "FusedConv":
        """The inference form of `layer`."""
        conv = fuse_conv_bn_eval(layer.conv1.eval(), layer.bn1.eval())
        return cls(conv, isinstance(layer.act, nn.ReLU)).eval()

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> relu(conv(x) + skip) (B, C', H', W'); with `skip` there always is an activation."""
        padding, stride, dilation, groups = self.shape
        if not has_onednn(x, self.weight):
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
            y = y if skip is None else y + skip
            return y.relu() if self.has_act or skip is not None else y
        x = x.contiguous(memory_format=torch.channels_last)
        weight = self.packed(x.shape, lambda one: _reordered(one, self.shape, x.shape))
        if skip is None:
            act = "relu" if self.has_act else "none"
            return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.shape, act, [], "")
        skip = skip.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, skip, weight, self.bias, *self.shape, "add", 1.0, "relu", [], ""
        )


def _reordered(weight: Tensor, geometry: tuple, size: torch.Size) -> Tensor:
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *geometry, size)


class Bottleneck(nn.Module):
    """1x1, kxk and 1x1 convolutions with a skip, which is pooled where the kxk one strides.

    Args:
        in_channels, out_channels: C of the map before and after.
        width: channels of the kxk convolution.
        kernel_size: k.
        stride: 1 or 2.
        has_projection: a 1x1 convolution on the skip.
        drop_path: rate of stochastic depth.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        kernel_size: int,
        stride: int,
        has_projection: bool,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, width, 1)
        self.conv2 = ConvNorm(width, width, kernel_size, stride)
        self.conv3 = ConvNorm(width, out_channels, 1, has_act=False)
        # maps of odd sides keep their last row and column, as in the convolution
        self.residual_downsample = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.residual_proj = ConvNorm(in_channels, out_channels, 1, has_act=False) if has_projection else nn.Identity()
        self.drop_path = DropPath(drop_path)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H', W')
        skip = self.residual_proj(self.residual_downsample(x))
        x = self.conv2(self.conv1(x))
        if isinstance(self.conv3, FusedConv):
            return self.conv3(x, skip)
        return self.act(self.drop_path(self.conv3(x)) + skip)


class SuperBlock(nn.Module):
    """Bottlenecks one after the other, the first of which strides and always projects, also onto equal widths.

    That projection onto equal widths makes the published R18 11.83 million parameters, against 11.69 in the paper.
    """

    def __init__(self, layer: Layer, rates: Sequence[float]):
        super().__init__()
        width, out, kernel = layer["btn"], layer["out"], layer["k"]
        first = Bottleneck(layer["in"], out, width, kernel, layer["s"], True, rates[0])
        rest = (Bottleneck(out, out, width, kernel, 1, False, rate) for rate in rates[1:])
        self.block_list = nn.ModuleList([first, *rest])


@MODELS.register_module()
class DeepMAD(Backbone):
    """DeepMAD, the map before each halving and the last one, at strides 4, 8, 16, 32, or its classifier.

    `toolkit.deploy.deploy` gives its inference form; `tools/benchmark.py backbones DeepMAD --deploy` times both.

    Args:
        arch: `R18`, `R34` or `R50`; or a text file as the authors' search writes it; or the list of layers in it, each
            a dict of `class` (ConvKXBNRELU or SuperResK1KXK1), `in`, `out`, `k` and `s`, with `btn` and `L` for the
            width and the number of bottlenecks. The first layer is the stem.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last bottleneck, rising from 0 at the first; the published networks have none.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch, file or stage, or a layer does not fit.
    """

    def __init__(
        self,
        arch: str | Path | Sequence[Layer] = "R18",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        layers = structure_of(arch)
        # A stage begins at each strided layer behind the stem.
        starts = [i for i, layer in enumerate(layers) if i and layer["s"] > 1]
        ends = [*starts[1:], len(layers)]
        channels = [layers[end - 1]["out"] for end in ends]
        strides, stride = [], layers[0]["s"]
        for start in starts:
            strides.append(stride := stride * layers[start]["s"])
        super().__init__(channels, strides, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        self.starts, self.ends = starts[: self.built], ends[: self.built]
        rates = drop_path_rates(drop_path_rate, [layer.get("L", 1) if i else 0 for i, layer in enumerate(layers)])
        self.block_list = nn.ModuleList()
        for i, layer in enumerate(layers[: self.ends[-1]]):
            if layer["class"] == SUPER:
                self.block_list.append(SuperBlock(layer, rates[i]))
            else:
                before = layer["in"] if i else in_channels
                self.block_list.append(ConvNorm(before, layer["out"], layer["k"], layer["s"]))
        if num_classes is not None:
            self.fc_linear = nn.Linear(channels[-1], num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        stem = list(self.block_list[: self.starts[0]])
        stages = zip(self.starts, self.ends, strict=True)
        return [stem, *(list(self.block_list[start:end]) for start, end in stages)]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        found = []
        for i, block in enumerate(self.block_list, 1):
            x = self.run_each(block.block_list if isinstance(block, SuperBlock) else [block], x)
            if i in self.ends:
                found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.fc_linear(x.mean((2, 3)))

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fold all norms and join convolutions, sums and activations, in place; for inference alone."""
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, ConvNorm):
                    setattr(module, name, FusedConv.of(child))
