"""Training of networks on sound: AdamW with cut gradients, averaged weights, data made in the training process.

A config adds the data sets, batch sizes, epochs, rates and measures.
"""

train_dataloader = dict(
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
optim_wrapper = dict(
    optimizer=dict(type="AdamW", weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
    clip_grad=dict(max_norm=5.0),
)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.002, gamma=100, update_buffers=True, priority=49)
]
train_cfg = dict(type="EpochBasedTrainLoop", val_interval=4)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
