"""RetinaNet with ResNet-18 from scratch on BCCD at 256 x 192: what necks and heads of other papers are held against.

    python tools/train.py detection/retinanet_r18_8e_bccd

The set belongs in data/bccd (see data/README.md). Anchors begin at 16 pixels: a platelet is about 15 across here.
"""

_base_ = [
    "../_base_/models/retinanet_r18_128.py",
    "../_base_/datasets/small_boxes.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

data_root = "data/bccd/"
classes = ("RBC", "WBC", "Platelets")
scale = (256, 192)
max_epochs = 8

model = dict(bbox_head=dict(num_classes=len(classes), anchor_generator=dict(octave_base_scale=2)))

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
where = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **where))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **where))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "val.json")
test_evaluator = val_evaluator

optim_wrapper = dict(clip_grad=dict(max_norm=10))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
