"""YOLOv8-MS-N: YOLOv8 with MS-Blocks in place of its C2f blocks, 500 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 16 pictures each): 2,862,704 parameters, 4.4 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 40.3 / 22.0 / 44.6 / 53.7 (YOLOv8-N: 37.2).
Pictures are RGB in 0 to 1, as YOLOv8 has them. Mosaic takes its partners from a cache of 40 pictures.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolov8_ms_n_500e_coco.py --launcher pytorch
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/yolov8_ms.py",
    "../_base_/datasets/coco_detection_640.py",
]

max_epochs = 500
plain_epochs = 10  # at the end, without mosaic
warmup_epochs = 3

size = (640, 640)
grey = dict(img=(114, 114, 114))
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="CachedMosaic", img_scale=size, pad_val=114.0, max_cached_images=40),
    dict(
        type="RandomAffine",
        scaling_ratio_range=(0.5, 1.5),
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        border=(-320, -320),
        border_val=(114, 114, 114),
    ),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1)),
    dict(type="PackDetInputs"),
]
plain_train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="Pad", size=size, pad_val=grey),
    dict(
        type="RandomAffine",
        scaling_ratio_range=(0.5, 1.5),
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        border_val=(114, 114, 114),
    ),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1)),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))

train_cfg = dict(
    type="EpochBasedTrainLoop",
    max_epochs=max_epochs,
    val_interval=10,
    dynamic_intervals=[(max_epochs - plain_epochs, 1)],
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.937, nesterov=True, weight_decay=5e-4),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
)
auto_scale_lr = dict(enable=True, base_batch_size=128)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=warmup_epochs, by_epoch=True, convert_to_iter_based=True),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.01, begin=0, end=max_epochs, by_epoch=True),
]

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=1e-4, update_buffers=True, priority=49),
    dict(type="PipelineSwitchHook", switch_epoch=max_epochs - plain_epochs, switch_pipeline=plain_train_pipeline),
]
