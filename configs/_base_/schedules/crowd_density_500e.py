"""The schedule of SFANet, from which M-SFANet and M-SegNet descend: Adam, 500 epochs at one rate."""

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=500, val_interval=1)
auto_scale_lr = dict(base_batch_size=8)
