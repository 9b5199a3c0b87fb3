"""M-SegNet of a quarter of the width, from scratch on 95 small pictures of dense crowds; about an hour on one core.

    python tools/train.py crowd/m_segnet_w025_sht_a_small

The set belongs in data/sht_a_small (see data/README.md). Training sees crops, testing whole pictures. M-SegNet
is chosen before M-SFANet here: the widest dilation of the latter's ASPP reaches 288 pixels, beyond any such crop.
"""

_base_ = ["m_segnet_w025_mall.py"]

data_root = "data/sht_a_small/"
max_epochs = 200
crop = (256, 256)

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="ScaleCrowd", ratio_range=(0.7, 1.3), min_side=crop[0]),
    dict(type="CropCrowd", size=crop),
    dict(type="FlipCrowd", prob=0.5),
    dict(type="GammaCrowd", gamma_range=(0.5, 1.5), prob=0.5),
    dict(type="GreyCrowd", prob=0.1),
    dict(type="PackCrowd", sigma=3.0),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeCrowd", multiple=16),
    dict(type="PackCrowd", sigma=3.0),
]
model = dict(
    loss=[
        dict(type="DensityAttentionLoss", density_weight=100.0, attention_weight=0.003, threshold=0.004),
        dict(type="RegionCountLoss", sizes=(0, 16), loss_weight=0.1),
    ],
)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
        convert_to_iter_based=True,
    ),
]  # fmt: skip
default_hooks = dict(checkpoint=dict(interval=20))
