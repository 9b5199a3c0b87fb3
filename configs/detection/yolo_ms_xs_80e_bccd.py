"""YOLO-MS-XS from scratch on BCCD: red cells, white cells and platelets in 205 training pictures.

    python tools/train.py detection/yolo_ms_xs_80e_bccd

The set belongs in data/bccd (see data/README.md). Training sees crops of 320 x 320 from pictures of about 480 x 360,
testing sees the whole picture: more detail for the same time.
"""

_base_ = [
    "../_base_/models/yolo_ms.py",
    "../_base_/datasets/small_boxes.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

data_root = "data/bccd/"
classes = ("RBC", "WBC", "Platelets")
scale, crop = (480, 360), (320, 320)
max_epochs = 80

model = dict(bbox_head=dict(num_classes=len(classes)), test_cfg=dict(nms_pre=1000))

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=scale, ratio_range=(0.75, 1.35), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(6, 6)),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
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
val_evaluator = dict(ann_file=data_root + "val.json")
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
