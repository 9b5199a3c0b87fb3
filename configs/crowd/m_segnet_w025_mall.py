"""M-SegNet of a quarter of the width, from scratch on 200 frames of a fixed camera; about an hour on one core.

    python tools/train.py crowd/m_segnet_w025_mall

The set belongs in data/mall (see data/README.md). Whole frames at half size; what the network gives is 20 times the
density, of which a lone head reaches 0.07.
"""

_base_ = [
    "../_base_/datasets/crowd_points.py",
    "../_base_/schedules/crowd_small.py",
    "../_base_/default_runtime.py",
]

data_root = "data/mall/"
max_epochs = 140

model = dict(
    type="CrowdCounter",
    network=dict(type="MSegNet", widen_factor=0.25),
    density_scale=20.0,
    loss=[
        dict(type="DensityAttentionLoss", density_weight=100.0, attention_weight=0.003, threshold=0.004),
        dict(type="RegionCountLoss", sizes=(0, 40), loss_weight=0.1),
    ],
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeCrowd", scale=0.5),
    dict(type="ScaleCrowd", ratio_range=(0.9, 1.25), min_side=224),
    dict(type="CropCrowd", size=(224, 256)),
    dict(type="FlipCrowd", prob=0.5),
    dict(type="GammaCrowd", gamma_range=(0.6, 1.5), prob=0.5),
    dict(type="GreyCrowd", prob=0.1),
    dict(type="PackCrowd", sigma=3.0),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeCrowd", scale=0.5, multiple=16),
    dict(type="PackCrowd", sigma=3.0),
]
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
        convert_to_iter_based=True,
    ),
]  # fmt: skip
default_hooks = dict(
    checkpoint=dict(save_best="crowd/MAE", rule="less", interval=10),
)
