"""YOLO-MS-XS from scratch on Raccoon: one class, 133 training pictures of mostly one large animal.

    python tools/train.py detection/yolo_ms_xs_60e_raccoon

The set belongs in data/raccoon (see data/README.md). Mosaics make up for the few pictures; the last 10 epochs see
plain ones.
"""

_base_ = [
    "../_base_/models/yolo_ms.py",
    "../_base_/datasets/small_boxes.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

data_root = "data/raccoon/"
classes = ("raccoon",)
scale = (256, 256)
max_epochs = 60

model = dict(bbox_head=dict(num_classes=len(classes)), test_cfg=dict(nms_pre=1000))

load_pipeline = [dict(type="LoadImage"), dict(type="LoadAnnotations", with_bbox=True)]
train_pipeline = [
    dict(type="Mosaic", img_scale=scale, pad_val=114.0),
    dict(type="RandomResize", scale=(512, 512), ratio_range=(0.6, 1.4), keep_ratio=True),
    dict(type="RandomCrop", crop_size=scale),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="Pad", size=scale, pad_val=dict(img=(114, 114, 114))),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(8, 8), keep_empty=False),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
where = dict(data_root=data_root, metainfo=dict(classes=classes))
plain = dict(_base_.train_dataloader.dataset, pipeline=load_pipeline, **where)
train_dataloader = dict(
    dataset=dict(_delete_=True, type="MultiImageMixDataset", dataset=plain, pipeline=train_pipeline)
)
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
mosaic = ("Mosaic", "RandomResize", "RandomCrop")
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="YOLOXModeSwitchHook", num_last_epochs=10, skip_type_keys=mosaic, priority=48),
]
