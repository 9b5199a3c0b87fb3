"""CamVid at 240 x 180, 60 epochs from random weights: all of a configuration but the model.

The set belongs in data/camvid_small (see data/README.md).
"""

_base_ = ["datasets/camvid_small.py", "schedules/scratch_small.py", "default_runtime.py"]

default_scope = "mmseg"
max_epochs = 60

default_hooks = dict(checkpoint=dict(save_best="seg/mIoU"))

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
