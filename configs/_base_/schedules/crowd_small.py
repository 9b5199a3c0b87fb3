"""Counters from scratch on some hundred pictures: AdamW, averaged weights, bfloat16 where the processor has it."""

optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    only_where_fast=True,
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
    clip_grad=dict(max_norm=100.0),
)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.003, gamma=200, update_buffers=True, priority=49)
]
auto_scale_lr = dict(base_batch_size=8)
