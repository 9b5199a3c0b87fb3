"""CamVid at 240 x 180 in data/camvid_small, as data/README.md describes folders of pictures and masks.

Classes 0 to 10; 11, void, counts as no class.
"""

data_root = "data/camvid_small/"
metainfo = dict(
    classes=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    palette=[
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ],
)  # fmt: skip
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadMask"),
    dict(type="RandomResize", scale=(240, 180), ratio_range=(0.75, 1.75), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(160, 224), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImage"), dict(type="LoadMask"), dict(type="PackSegInputs")]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="FolderSegmentation",
        data_root=data_root,
        data_prefix=dict(img_path="train/images", seg_map_path="train/masks"),
        metainfo=metainfo,
        ignored=(11,),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="FolderSegmentation",
        data_root=data_root,
        data_prefix=dict(img_path="val/images", seg_map_path="val/masks"),
        metainfo=metainfo,
        ignored=(11,),
        pipeline=test_pipeline,
    ),
)
val_evaluator = [dict(type="IoUMetric", iou_metrics=["mIoU"], prefix="seg"), dict(type="BoundaryIoU", prefix="seg")]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
