"""InceptionNeXt: ConvNeXt with its large depthwise kernel split into bands.

InceptionNeXt: When Inception Meets ConvNeXt, CVPR 2024, arXiv 2303.16900.

    y = x + gamma * W_2 gelu(W_1 norm(mixer(x)))        mixer: see InceptionDWConv2d
"""

from mmengine.registry import MODELS

from toolkit.backbones.timm import TimmBackbone


@MODELS.register_module()
class InceptionNeXt(TimmBackbone):
    """InceptionNeXt, bare maps.

    Args:
        arch: `atto`, `tiny`, `small`, `base`.
        kwargs: of `TimmBackbone`.
    """

    def __init__(self, arch: str = "tiny", **kwargs):
        super().__init__(f"inception_next_{arch}", **kwargs)
