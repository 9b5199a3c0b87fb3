"""D3NetAEC of the published size: 354,476 parameters at 16 kHz, causal, 32 ms; for a GPU.

The paper counts 354K; how they are laid out is not public, and this layout is the project's own. At full resolution in
time and frequency they take about 5.7 billion multiply-adds for a second of audio.

    python tools/train.py audio/d3net_aec_16k --amp
"""

_base_ = ["d3net_aec_small_8k.py"]

sample_rate = 16000
max_epochs = 100

model = dict(
    network=dict(
        channels=12,
        depth=1,
        layers=5,
        blocks=2,
        taps=11,
        window_size=512,
        hop_size=256,
        sample_rate=sample_rate,
    ),
)
train_dataloader = dict(
    batch_size=16, num_workers=8, dataset=dict(length=8000, seconds=4.0, sample_rate=sample_rate, rooms=2000)
)
val_dataloader = dict(dataset=dict(sample_rate=sample_rate))
test_dataloader = val_dataloader
test_evaluator = dict(sample_rate=sample_rate)
auto_scale_lr = dict(base_batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=500),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=max_epochs // 4,
        end=max_epochs,
        T_max=max_epochs - max_epochs // 4,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
