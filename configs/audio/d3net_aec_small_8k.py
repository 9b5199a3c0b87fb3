"""D3NetAEC of the package: 8 kHz, causal, 32 ms; trained in about a quarter of an hour on a free core.

    ln -s ... data/echo/speech_mix data/echo/spoken_digits data/echo/noise    (see data/README.md)
    python tools/train.py audio/d3net_aec_small_8k

Held back for validation: one speaker of the digits, four pairs of speakers of speech_mix, the recordings wind and
fireplace, and the rooms.
"""

_base_ = ["../_base_/schedules/audio.py", "../_base_/default_runtime.py"]

data_root = "data/echo/"
sample_rate = 8000
max_epochs = 14

speech_mix = dict(path=data_root + "speech_mix")
spoken_digits = dict(path=data_root + "spoken_digits", speaker="_([a-z]+)_")
kept_items, kept_noises = "item2[4578]_", "wind|fireplace"

model = dict(
    type="AudioModel",
    network=dict(
        type="D3NetAEC",
        channels=8,
        depth=1,
        layers=5,
        blocks=1,
        taps=8,
        window_size=256,
        hop_size=128,
        sample_rate=sample_rate,
    ),
    loss=dict(type="DualMaskLoss", limit=40.0),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type="EchoDataset",
        speech=[
            dict(**speech_mix, only="_source", skip=kept_items, weight=4),
            dict(**spoken_digits, skip="lucas", weight=1),
        ],
        noise=dict(path=data_root + "noise", skip=kept_noises),
        length=480,
        seconds=3.0,
        sample_rate=sample_rate,
        scenarios=("double", "far", "double", "double", "near", "double", "far", "double"),
        speed=(0.88, 1.14),
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type="EchoDataset",
        speech=[
            dict(**speech_mix, only=kept_items + "source", weight=4),
            dict(**spoken_digits, only="lucas", weight=1),
        ],
        noise=dict(path=data_root + "noise", only=kept_noises),
        length=24,
        seconds=6.0,
        sample_rate=sample_rate,
        scenarios=("far", "near", "double"),
        echo_ratio=(0.0, 0.0),
        noise_ratio=(20.0, 30.0),
        rooms=24,
        seed=1,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="EchoScores")
test_evaluator = dict(type="EchoScores", sample_rate=sample_rate)

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=3e-3, weight_decay=1e-3))
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [dict(_base_.custom_hooks[0], momentum=0.005)]
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=50),
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
default_hooks = dict(checkpoint=dict(save_best="echo/double_si_sdr_improvement", rule="greater"))
