"""STATE in a size for CPUs: half the channels, 2 layers (535 thousand parameters); frames of any size.

    python tools/score_video.py fit normal.mp4 -o camera.pth
    python tools/train.py video/state_small --data-root data/avenue/

Areas in the foreground rules are those of frames of 640x360 and follow the frames' size.
"""

_base_ = ["../_base_/datasets/video_anomaly.py"]

max_epochs = 8

extractor = dict(
    rules=dict(min_score=0.25, min_box_area=1600.0, max_cover=0.6, blur=5, min_difference=18, min_motion_area=1600.0)
)
model = dict(
    type="ObjectScorer",
    network=dict(type="STATE", layers=2, channels=(16, 32, 64)),
    extractor=extractor,
    epsilon=0.002,
    smooth_seconds=1.0,
)
train_dataloader = dict(batch_size=64, dataset=dict(type="ObjectPatches", extractor=extractor, samples=5000))

optim_wrapper = dict(type="BFloat16OptimWrapper", only_where_fast=True, optimizer=dict(type="Adam", lr=2e-3, eps=1e-7))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True),
]  # fmt: skip
custom_hooks = [dict(type="StatisticsHook")]
