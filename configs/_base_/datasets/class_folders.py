"""Pictures of one class a folder, below train/ and val/, at 224 pixels, as data/README.md describes them."""

_base_ = ["../classification.py"]

data_root = "data/my_pictures/"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="RandomResizedCrop", size=224, area=(0.25, 1.0)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackClass"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(1_000_000, 256), keep_ratio=True),  # the shorter side
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackClass"),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(type="FolderClassification", data_root=data_root, folder="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(type="FolderClassification", data_root=data_root, folder="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=32)
