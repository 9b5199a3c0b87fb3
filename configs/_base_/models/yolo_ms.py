"""YOLO-MS, its size left to `deepen_factor` and `widen_factor` of backbone, neck and head (here XS)."""

deepen_factor = 1 / 3
widen_factor = 0.40

model = dict(
    type="RTMDet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(type="YOLOMSBackbone", deepen_factor=deepen_factor, widen_factor=widen_factor),
    neck=dict(type="YOLOMSPAFPN", deepen_factor=deepen_factor, widen_factor=widen_factor),
    bbox_head=dict(type="YOLOMSHead", num_classes=80, widen_factor=widen_factor),
    train_cfg=dict(
        assigner=dict(type="DynamicSoftLabelAssigner", topk=13, soft_center_radius=3.0, iou_weight=3.0),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=30000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type="nms", iou_threshold=0.65),
        max_per_img=300,
    ),
)
