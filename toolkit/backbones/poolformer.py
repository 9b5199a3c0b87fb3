"""PoolFormer: a transformer whose token mixer is average pooling.

MetaFormer Is Actually What You Need for Vision, CVPR 2022, arXiv 2111.11418.

    z = x + scale_1 * (pool3x3(norm(x)) - norm(x)),   y = z + scale_2 * W_2 gelu(W_1 norm(z))
"""

import re
from collections.abc import Mapping

from mmengine.registry import MODELS
from torch import Tensor

from toolkit.backbones.timm import TimmBackbone

NORM = re.compile(r"^norm([0246])\.")


@MODELS.register_module()
class PoolFormer(TimmBackbone):
    """PoolFormer as its authors' detectors use it, with a norm of one group on each map.

    Args:
        arch: `s12`, `s24`, `s36`, `m36`, `m48`.
        out_norm: None for the bare maps of the stages.
        kwargs: of `TimmBackbone`.
    """

    def __init__(self, arch: str = "s12", out_norm: str | None = "GN", **kwargs):
        super().__init__(f"poolformer_{arch}", out_norm=out_norm, **kwargs)

    def from_published(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `TimmBackbone`'s; the authors count stages and downsamplings together, so their norms are 0, 2, 4, 6."""
        return super().from_published({NORM.sub(_stage_norm, key): value for key, value in state_dict.items()})


def _stage_norm(found: re.Match) -> str:
    return f"norm{int(found[1]) // 2}."
