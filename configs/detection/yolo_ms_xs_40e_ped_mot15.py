"""YOLO-MS-XS from scratch on pedestrians of two surveillance cameras, 130 training pictures.

    python tools/train.py detection/yolo_ms_xs_40e_ped_mot15

The set belongs in data/ped_mot15 (see data/README.md). Training sees crops of 320 x 320, testing the whole picture.
"""

_base_ = [
    "../_base_/models/yolo_ms.py",
    "../_base_/datasets/small_boxes.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

data_root = "data/ped_mot15/"
classes = ("person",)
scale, crop = (512, 384), (320, 320)
max_epochs = 40

model = dict(bbox_head=dict(num_classes=len(classes)), test_cfg=dict(nms_pre=1000))

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=scale, ratio_range=(0.7, 1.7), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop, allow_negative_crop=True),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(6, 6), keep_empty=False),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=crop, pad_val=dict(img=(114, 114, 114))),
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
val_evaluator = [
    dict(type="CocoMetric", ann_file=data_root + "val.json", metric="bbox"),
    dict(type="BoxCountingErrors"),
]
test_evaluator = val_evaluator

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min=5e-5,
        begin=max_epochs // 3,
        end=max_epochs,
        T_max=max_epochs - max_epochs // 3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
