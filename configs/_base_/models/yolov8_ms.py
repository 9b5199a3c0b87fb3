"""YOLOv8 with MS-Blocks, its size left to `deepen_factor` and `widen_factor` of backbone, neck and head (here N)."""

deepen_factor = 1 / 3
widen_factor = 0.15
norm_cfg = dict(type="BN", momentum=0.03, eps=0.001)

model = dict(
    type="SingleStageDetector",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(type="YOLOv8MSBackbone", deepen_factor=deepen_factor, widen_factor=widen_factor, norm_cfg=norm_cfg),
    neck=dict(type="YOLOv8MSPAFPN", deepen_factor=deepen_factor, widen_factor=widen_factor, norm_cfg=norm_cfg),
    bbox_head=dict(type="YOLOv8Head", num_classes=80, widen_factor=widen_factor, norm_cfg=norm_cfg),
    train_cfg=dict(topk=10, alpha=0.5, beta=6.0),
    test_cfg=dict(
        nms_pre=30000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type="nms", iou_threshold=0.7),
        max_per_img=300,
    ),
)
