"""Normal videos to learn from, labelled ones to measure on; any layout that data/README.md names."""

_base_ = ["../default_runtime.py"]

data_root = "data/avenue/"

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(sources=[data_root]),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="LabelledClips", root=data_root),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="FrameAUC")
test_evaluator = val_evaluator
train_cfg = dict(type="EpochBasedTrainLoop")
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(save_best="video/micro_auc_per_clip", rule="greater"))
