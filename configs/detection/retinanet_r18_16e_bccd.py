"""RetinaNet with ResNet-18 from scratch on BCCD for 16 epochs: its backbone is what comparisons begin with.

python tools/train.py detection/retinanet_r18_16e_bccd
"""

_base_ = "retinanet_r18_8e_bccd.py"

train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=2,
        end=16,
        T_max=14,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
