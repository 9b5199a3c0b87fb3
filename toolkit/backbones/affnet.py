"""AFFNet: a light network that mixes tokens by adaptive filters in the frequency domain.

Adaptive Frequency Filters As Efficient Global Token Mixers, ICCV 2023, arXiv 2307.14008.

    stage = AFFBlock(InvertedResidual(x, stride 2)) in the last three of five

See `toolkit.modules.mixer.aff` for the filter.
"""

from collections.abc import Sequence

from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates
from toolkit.modules.mixer.aff import AFFBlock, ConvNormAct, InvertedResidual

ARCHS = {  # (channels, blocks) of the stages with inverted residuals, (channels, hidden, blocks) of those with filters
    "xx_small": dict(
        stem=16, layer1=(32, 1), layer2=(48, 3), aff=((64, 128, 2), (104, 208, 4), (144, 288, 3)), expand=2
    ),
    "x_small": dict(
        stem=16, layer1=(32, 1), layer2=(48, 3), aff=((96, 192, 2), (160, 320, 4), (192, 384, 3)), expand=4
    ),
    "small": dict(stem=16, layer1=(32, 1), layer2=(64, 3), aff=((128, 256, 2), (256, 512, 4), (320, 640, 3)), expand=4),
}
STRIDES = (4, 8, 16, 32)
MOST_EXPANDED = 960  # channels before the classifier


def hidden_channels(channels: int, ratio: float) -> int:
    """`ratio` times as many channels, to the nearest multiple of 8 that is not more than a tenth smaller."""
    wanted = round(channels * ratio)
    found = max(8, (wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


@MODELS.register_module()
class AFFNet(Backbone):
    """AFFNet-ET (`xx_small`), AFFNet-T (`x_small`) and AFFNet (`small`).

    The maps are those of layers 2 to 5. The published configurations of activation and norm were never in the authors'
    repository: the defaults are those of its code, under which parameters and keys agree with the published ones.

    Args:
        arch: one of ARCHS, or a dict like theirs: `stem` channels; `layer1` and `layer2`, channels and blocks; `aff`,
            for each of three layers the channels, the hidden ones of the MLPs and the blocks; `expand`, of the
            inverted residuals.
        act: relu, swish or gelu, everywhere.
        norm: before MLPs and filters, as in AFFBlock.
        num_classes: logits instead of maps; None for maps.
        in_channels: channels of the picture.
        out_indices: which of the four maps to give.
        frozen_stages: keep the stem (0) and what gives this many maps as they are; -1 for none.
        drop_path_rate: of the last filter block, rising from 0 at the first.
        with_cp: recompute the layers in the backward pass to save memory.
        init_cfg: as mmengine's.

    Raises:
        ValueError: `arch`, `act` or `norm` are unknown.
    """

    def __init__(
        self,
        arch: str | dict = "x_small",
        act: str = "swish",
        norm: str = "layer_norm_2d",
        num_classes: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        sizes = arch_facts("AFFNet", ARCHS, arch)
        channels = [sizes["layer2"][0], *(width for width, *_ in sizes["aff"])]
        super().__init__(channels, STRIDES, out_indices, frozen_stages, with_cp, init_cfg, num_classes)

        def residuals(before: int, width: int, blocks: int, stride: int) -> nn.Sequential:
            ins = [before] + [width] * (blocks - 1)
            return nn.Sequential(
                *(
                    InvertedResidual(c, width, hidden_channels(c, sizes["expand"]), stride if i == 0 else 1, act)
                    for i, c in enumerate(ins)
                )
            )

        self.conv_1 = ConvNormAct(in_channels, sizes["stem"], 3, 2, act=act)
        self.layer_1 = residuals(sizes["stem"], *sizes["layer1"], 1)
        self.layer_2 = residuals(sizes["layer1"][0], *sizes["layer2"], 2)
        rates = drop_path_rates(drop_path_rate, [blocks for *_, blocks in sizes["aff"]])
        for i, (width, hidden, blocks) in enumerate(sizes["aff"][: self.built - 1]):
            block = AFFBlock(width, hidden_channels(hidden, 1), blocks, act=act, norm=norm)
            for one, rate in zip(block.global_rep, rates[i], strict=False):
                one.drop_path = DropPath(rate)
            self.add_module(f"layer_{i + 3}", nn.Sequential(*residuals(channels[i], width, 1, 2), block))
        if num_classes is not None:
            expanded = min(4 * channels[-1], MOST_EXPANDED)
            self.conv_1x1_exp = ConvNormAct(channels[-1], expanded, act=act)
            self.classifier = nn.Sequential()
            self.classifier.add_module("fc", nn.Linear(expanded, num_classes))
        self._start()
        self.freeze()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def layers(self) -> list[nn.Sequential]:
        """The layers that end in the maps, as far as they are built."""
        return [getattr(self, f"layer_{i + 2}") for i in range(self.built)]

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.conv_1, self.layer_1], *([layer] for layer in self.layers())]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every layer from the second that there is."""
        x, found = self.run(self.layer_1, self.conv_1(x)), []
        for layer in self.layers():
            x = self.run(layer, x)
            found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.classifier(self.conv_1x1_exp(x).mean((2, 3)))
