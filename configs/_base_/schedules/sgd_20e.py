"""20 epochs of SGD; a tenth of the rate after epochs 16 and 19."""

_base_ = "./sgd_1x.py"

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=20, milestones=[16, 19], gamma=0.1),
]
train_cfg = dict(max_epochs=20)
