"""ATSSHeadDCN: ATSS's head whose towers end in a modulated deformable convolution.

Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample Selection, CVPR 2020,
arXiv 1912.02424; Deformable ConvNets v2: More Deformable, Better Results, CVPR 2019, arXiv 1811.11168.
"""

from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import ATSSHead
from mmengine.registry import MODELS


@MODELS.register_module()
class ATSSHeadDCN(ATSSHead):
    """`ATSSHead` of mmdet with DCNv2 in place of the last convolution of each tower, as FCOS's `dcn_on_last_conv`."""

    def _init_layers(self) -> None:
        super()._init_layers()
        for tower in (self.cls_convs, self.reg_convs):
            conv = dict(conv_cfg=dict(type="DCNv2"), norm_cfg=self.norm_cfg)
            tower[-1] = ConvModule(tower[-1].in_channels, self.feat_channels, 3, padding=1, **conv)
