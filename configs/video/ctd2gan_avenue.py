"""CT-D2GAN in a size for CPUs: the next frame of 64x112 from 4 (272 thousand parameters, discriminators aside).

    ln -s ... data/avenue     (see data/README.md)
    python tools/train.py video/ctd2gan_avenue
    python tools/score_video.py fit normal.mp4 -o camera.pth --config video/ctd2gan_avenue

It takes about 20 minutes of one core, however long the footage is. `model.patch=16` scores the worst patch of each
frame instead of the whole.
"""

_base_ = ["../_base_/datasets/video_anomaly.py"]

max_epochs = 6
size, frames = (64, 112), 4

model = dict(type="CTD2GAN", size=size, frames=frames, smooth_seconds=0.36)
model_wrapper_cfg = dict(type="MMSeparateDistributedDataParallel")
train_dataloader = dict(batch_size=4, dataset=dict(type="FrameClips", size=size, frames=frames, samples=2400))

optim_wrapper = dict(
    constructor="OptimizersByPart",
    generator=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3)),
    discriminators=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4)),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True),
]  # fmt: skip
