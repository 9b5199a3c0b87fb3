"""RetinaNet over any backbone, 12 epochs on COCO with AdamW: all of a configuration but the backbone.

A configuration on top names `model.backbone`, which gives maps from stride 8 on, and their channels as
`model.neck.in_channels`. It starts from random weights; with `BACKBONE.pth`, from ImageNet:

    --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=BACKBONE.pth
"""

_base_ = [
    "models/retinanet_r50.py",
    "datasets/coco_detection_1333x800.py",
    "schedules/sgd_1x.py",
    "default_runtime.py",
]

model = dict(backbone=dict(_delete_=True), neck=dict(start_level=0))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
