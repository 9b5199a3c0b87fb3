"""Head of YOLO-MS: RTMDet's, with convolutions that all levels share and batch norms of each level's own.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480; RTMDet: An Empirical Study of Designing Real-Time Object Detectors, arXiv 2212.07784.
"""

from mmdet.models.dense_heads import RTMDetSepBNHead
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class YOLOMSHead(RTMDetSepBNHead):
    """mmdet's RTMDetSepBNHead with the widths, losses and LeakyReLU of the published YOLO-MS.

    `forward` gives class logits (B, num_classes, H, W) and distances to the four sides (B, 4, H, W) in pixels, for
    each level; the distances are linear in the last convolution, not exponential.

    Args:
        num_classes: classes without the background.
        in_channels: the neck's output width before widening.
        feat_channels: inner width before widening.
        widen_factor: times both widths, cut to an integer.
        kwargs: everything else that mmdet's RTMDetSepBNHead takes; `train_cfg` names the assigner.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 240,
        feat_channels: int = 240,
        widen_factor: float = 1.0,
        norm_cfg: dict = dict(type="BN"),
        act_cfg: dict = dict(type="LeakyReLU", inplace=True),
        anchor_generator: dict = dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder: dict = dict(type="DistancePointBBoxCoder"),
        loss_cls: dict = dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox: dict = dict(type="DIoULoss", loss_weight=2.0),
        stacked_convs: int = 2,
        **kwargs,
    ):
        super().__init__(
            num_classes,
            int(in_channels * widen_factor),
            feat_channels=int(feat_channels * widen_factor),
            with_objectness=False,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            anchor_generator=anchor_generator,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            stacked_convs=stacked_convs,
            **kwargs,
        )

    def init_weights(self) -> None:
        """Start from boxes of four strides.

        The published training starts from boxes of no size. The assigner then gives one point to each object with
        next to no loss, and the first hundreds of steps are lost.
        """
        super().init_weights()
        for conv in self.rtm_reg:
            nn.init.constant_(conv.bias, 2.0)
