"""YOLO-MS: 300 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 8 pictures each): 21,992,412 parameters, 40.1 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 50.8 / 33.2 / 54.8 / 66.4.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolo_ms_300e_coco.py --launcher pytorch
"""

_base_ = "./yolo_ms_xs_300e_coco.py"

deepen_factor = 2 / 3
widen_factor = 0.80

model = dict(
    backbone=dict(deepen_factor=deepen_factor, widen_factor=widen_factor),
    neck=dict(deepen_factor=deepen_factor, widen_factor=widen_factor),
    bbox_head=dict(widen_factor=widen_factor),
)

size = (640, 640)
grey = dict(img=(114, 114, 114))
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="CachedMosaic", img_scale=size, pad_val=114.0, max_cached_images=40),
    dict(type="RandomResize", scale=(1280, 1280), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=size),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=size, pad_val=grey),
    dict(type="CachedMixUp", img_scale=size, ratio_range=(1.0, 1.0), max_cached_images=20, pad_val=(114, 114, 114)),
    dict(type="PackDetInputs"),
]
plain_train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=size),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=size, pad_val=grey),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=2e-4, update_buffers=True, priority=49),
    dict(type="PipelineSwitchHook", switch_epoch=280, switch_pipeline=plain_train_pipeline),
]
