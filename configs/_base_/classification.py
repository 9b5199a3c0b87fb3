"""All of a classification from random weights but data, model and epochs: AdamW, averaged weights, top-1 and top-5.

A configuration on top names `train_cfg`, `param_scheduler` and the data sets.
"""

_base_ = ["schedules/scratch_small.py", "default_runtime.py"]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="ClassAccuracy", topk=(1, 5))
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
default_hooks = dict(
    checkpoint=dict(save_best="cls/top1", rule="greater"),
)
