"""LowFormer: convolutions, and attention at low resolution, chosen by measured speed.

LowFormer: Hardware Efficient Design for Convolutional Transformer Backbones, WACV 2025, arXiv 2409.03460.

    y = z + local(z),   z = u + mlp(norm(u)),   u = x + up(attention(down(norm(x))))
"""

from mmengine.registry import MODELS

from toolkit.backbones.timm import TimmBackbone


@MODELS.register_module()
class LowFormer(TimmBackbone):
    """LowFormer, bare maps.

    Args:
        arch: `b0`, `b1`, `b15`, `b2`, `b3`, `e1`, `e2`, `e3`.
        kwargs: of `TimmBackbone`.
    """

    def __init__(self, arch: str = "b0", **kwargs):
        super().__init__(f"lowformer_{arch}", **kwargs)
