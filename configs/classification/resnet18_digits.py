"""ResNet-18 of half the width from scratch on handwritten digits, which are made on the spot; minutes on one core.

python tools/train.py classification/resnet18_digits
"""

_base_ = ["../_base_/datasets/digits.py"]

max_epochs = 20

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=32,
        stem_channels=32,
        out_indices=(3,),
        norm_eval=False,
        zero_init_residual=False,  # with it, a short training from scratch starts late
    ),
    head=dict(type="LinearHead", num_classes=10, label_smoothing=0.1),
    mixup=0.1,
)

optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=5)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=64),
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
