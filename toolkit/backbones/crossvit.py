"""CrossViT: two vision transformers of different patch sizes whose class tokens read the other's patches.

CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification, ICCV 2021, arXiv 2103.14899.
"""

import math
from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from toolkit.backbones.timm import TimmBackbone

STRIDE = 16


@MODELS.register_module()
class CrossViT(TimmBackbone):
    """CrossViT's patch tokens as maps at stride 16.

    The network itself sees every picture resized to two fixed squares; its grids of tokens are resized to the
    picture's. It gives no pyramid: put a `SimpleFeaturePyramid` behind one of the maps.

    Args:
        arch: `tiny_240`, `small_240`, `base_240`, `9_240`, `15_240`, `18_240`, with `_dagger` before the size for
            convolutional stems.
        out_indices: with D multi-scale blocks, 0 to D - 1 the small patches' map after each, D to 2 D - 1 the large
            patches'; None for the last of both.
        kwargs: of `TimmBackbone`.
    """

    def __init__(self, arch: str = "tiny_240", out_indices: Sequence[int] | None = None, **kwargs):
        super().__init__(f"crossvit_{arch}", out_indices=out_indices, **kwargs)
        self.strides = (STRIDE,) * len(self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (B, in_channels, H, W) -> (B, C_i, H / 16, W / 16) each
        size = tuple(math.ceil(side / STRIDE) for side in x.shape[-2:])
        return tuple(F.interpolate(one, size, mode="bilinear") for one in super().forward(x))

    def timm_names(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `TimmBackbone`."""
        tokens = ("pos_embed.", "cls_token.")
        return {k.replace(".", "_", 1) if k.startswith(tokens) else k: value for k, value in state_dict.items()}
