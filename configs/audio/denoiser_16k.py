"""BandGRU, the denoiser in the package: 16 kHz, causal, 64 ms; 80 minutes on one core.

    python data/make_tts_speech.py data/denoising/speech_tts
    ln -s ... data/denoising/speech_mix data/denoising/spoken_digits data/denoising/noise    (see data/README.md)
    python tools/train.py audio/denoiser_16k

The shipped weights were trained on for longer, see toolkit/audio/weights/README.md. Held back for validation: one
speaker of the digits, four pairs of speakers of speech_mix, the voice rms, and the recordings city and exercise_bike.
"""

_base_ = ["../_base_/schedules/audio.py", "../_base_/default_runtime.py"]

data_root = "data/denoising/"
sample_rate = 16000
max_epochs = 44

speech_mix = dict(path=data_root + "speech_mix", only="_source")
spoken_digits = dict(path=data_root + "spoken_digits", speaker="_([a-z]+)_")
synthesised = dict(path=data_root + "speech_tts", speaker="(.*)_")
kept_items, kept_noises = "item2[4578]_", "city|exercise_bike"

model = dict(
    type="AudioModel",
    network=dict(
        type="BandGRU",
        channels=(16, 24, 32, 40, 48),
        hidden=192,
        layers=2,
        taps=3,
        window_size=1024,
        hop_size=512,
        sample_rate=sample_rate,
    ),
    loss=[
        dict(type="SISDRLoss", limit=25.0),
        dict(type="CompressedSpectrumLoss", window_sizes=(512,), loss_weight=10.0),
    ],
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="SpeechInNoise",
        speech=[
            dict(**speech_mix, skip=kept_items, weight=4),
            dict(**spoken_digits, skip="lucas", weight=2),
            dict(**synthesised, only="flite|festival", skip="rms", weight=3),
            dict(**synthesised, only="espeak", weight=1),
        ],
        noise=[dict(path=data_root + "noise", skip=kept_noises)],
        length=2000,
        seconds=2.5,
        sample_rate=sample_rate,
        snr=(-10.0, 18.0),
        synthetic=0.55,
        babble=0.1,
        clean=0.14,
        rooms=0.35,
        rumble=0.8,
    ),
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="SpeechInNoise",
        speech=[
            dict(path=data_root + "speech_mix", only=kept_items + "source"),
            dict(**spoken_digits, only="lucas"),
            dict(**synthesised, only="rms"),
        ],
        noise=[dict(path=data_root + "noise", only=kept_noises)],
        length=64,
        seconds=5.0,
        sample_rate=sample_rate,
        snr=(-5.0, 0.0, 5.0, 10.0),
        seed=0,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SISDR")
test_evaluator = val_evaluator

optim_wrapper = dict(type="BFloat16OptimWrapper", only_where_fast=True, optimizer=dict(lr=1.5e-3))
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=150),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(save_best="audio/si_sdr_improvement", rule="greater"))
