"""UPerNet with ResNet-18 from scratch on CamVid at 240 x 180: what other methods are held against.

    python tools/train.py segmentation/upernet_r18_60e_camvid

The set belongs in data/camvid_small (see data/README.md).
"""

_base_ = [
    "../_base_/models/upernet_r18.py",
    "../_base_/datasets/camvid_small.py",
    "../_base_/schedules/scratch_small.py",
    "../_base_/default_runtime.py",
]

default_scope = "mmseg"
max_epochs = 60

default_hooks = dict(checkpoint=dict(save_best="seg/mIoU"))
model = dict(decode_head=dict(num_classes=11))

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
