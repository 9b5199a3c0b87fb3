"""ConvNeXt: a convolutional network in the measures of a Swin transformer.

A ConvNet for the 2020s, CVPR 2022, arXiv 2201.03545.

    y = x + gamma * W_2 gelu(W_1 norm(dw7x7(x)))
"""

from mmengine.registry import MODELS

from toolkit.backbones.timm import TimmBackbone


@MODELS.register_module()
class ConvNeXt(TimmBackbone):
    """ConvNeXt as its authors' detectors use it, with a LayerNorm over the channels of each map.

    Args:
        arch: `tiny`, `small`, `base`, `large`, `xlarge`; timm has smaller ones too: `atto`, `femto`, `pico`, `nano`.
        out_norm: None for the bare maps of the stages.
        kwargs: of `TimmBackbone`.
    """

    def __init__(self, arch: str = "tiny", out_norm: str | None = "LN", **kwargs):
        super().__init__(f"convnext_{arch}", out_norm=out_norm, **kwargs)
