"""A narrow YOLO-MS on the synthetic shapes of data/make_shapes.py: what `make demo` trains, in about five minutes.

    python data/make_shapes.py demo/out/shapes --train 500 --val 60 --size 192
    python tools/train.py detection/yolo_ms_demo_shapes

The widths are 0.25 of the base model's; the narrowest published, XS, has 0.4.
"""

_base_ = [
    "../_base_/models/yolo_ms.py",
    "../_base_/datasets/small_boxes.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

data_root = "demo/out/shapes/"
classes = ("circle", "triangle", "square", "star", "ring")
size = (192, 192)
max_epochs = 12
widen_factor = 0.25

model = dict(
    backbone=dict(widen_factor=widen_factor),
    neck=dict(widen_factor=widen_factor),
    bbox_head=dict(widen_factor=widen_factor, num_classes=len(classes)),
    test_cfg=dict(nms_pre=1000),
)

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
where = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=train_pipeline, **where))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **where))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "val.json")
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=5))
auto_scale_lr = dict(base_batch_size=6)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.005, gamma=50, update_buffers=True, priority=49)
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        eta_min=2e-5,
        begin=max_epochs // 3,
        end=max_epochs,
        T_max=max_epochs - max_epochs // 3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
