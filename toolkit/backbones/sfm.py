"""SFM around any backbone: adaptive resampling before the stages that make maps smaller.

Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025, arXiv 2507.11893; see
`toolkit.modules.sampling.sfm` for what of it is the paper's.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.modules.sampling.sfm import AdaptiveResampling, Modulated, compose


@MODELS.register_module()
class SFMBackbone(BaseModule):
    """A backbone whose stages see modulated maps; its own code and the names of its weights stay as they are.

    The maps that it gives know how they were modulated; the neck `MSAU` takes that back. Any other neck or head would
    see them as they are, distorted.

    Args:
        backbone: config of a backbone that gives one map for each name of `outputs`.
        before: names of the backbone's submodules whose input is modulated, in the order in which they run.
        outputs: for each map that the backbone gives, how many of `before` lie on its way.
        init_cfg: as in mmengine.

    Raises:
        ValueError: the backbone has no such submodule.

    Example:
        >>> backbone = dict(
        ...     type="SFMBackbone",
        ...     backbone=dict(type="ResNet", depth=18, num_stages=4, out_indices=(0, 1, 2, 3)),
        ...     before=("layer2", "layer3", "layer4"),
        ...     outputs=(0, 1, 2, 3),
        ... )
        >>> neck = dict(type="MSAU", in_channels=(64, 128, 256, 512), unmodulated=1)
    """

    def __init__(
        self,
        backbone: dict,
        before: Sequence[str],
        outputs: Sequence[int],
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(backbone)
        self.outputs = tuple(outputs)
        self.resamplers = nn.ModuleList()
        self._maps: list[Tensor] = []  # of the picture that is just being run
        stages = dict(self.backbone.named_modules())
        missing = [name for name in before if name not in stages]
        if missing:
            raise ValueError(f"SFMBackbone: {backbone['type']} has no {missing[0]!r}; there are {self._children()}")
        for name, channels in zip(before, self._channels([stages[name] for name in before]), strict=True):
            self.resamplers.append(AdaptiveResampling(channels))
            stages[name].register_forward_pre_hook(self._modulate)

    def _children(self) -> str:
        return ", ".join(name for name, _ in self.backbone.named_children())

    def _channels(self, stages: list[nn.Module]) -> list[int]:
        """Channels of what each stage takes, seen by running a small picture."""
        seen: dict[nn.Module, int] = {}
        hooks = [
            stage.register_forward_pre_hook(lambda module, args: seen.update({module: args[0].shape[1]}))
            for stage in stages
        ]
        training = self.backbone.training
        self.backbone.eval()  # some give None and not themselves
        with torch.no_grad():
            self.backbone(torch.zeros(1, self._in_channels(), 64, 64))
        self.backbone.train(training)
        for hook in hooks:
            hook.remove()
        return [seen[stage] for stage in stages]

    def _in_channels(self) -> int:
        return next(module.in_channels for module in self.backbone.modules() if isinstance(module, nn.Conv2d))

    def _modulate(self, _: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        y, s = self.resamplers[len(self._maps)](args[0])
        self._maps.append(compose(self._maps[-1], s) if self._maps else s)
        return (y, *args[1:])

    def forward(self, x: Tensor) -> Modulated:
        """(B, in_channels, H, W) -> the backbone's maps, modulated."""
        self._maps = []
        features = self.backbone(x)
        maps = [None, *self._maps]
        self._maps = []
        return Modulated(features, [maps[count] for count in self.outputs])
