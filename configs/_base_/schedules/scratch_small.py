"""Training from scratch on a few hundred pictures: AdamW, averaged weights, bfloat16 where the processor has it."""

optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    only_where_fast=True,
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
auto_scale_lr = dict(base_batch_size=8)
custom_hooks = [
    dict(type="EMAHook", ema_type="mmdet.ExpMomentumEMA", momentum=0.002, gamma=200, update_buffers=True, priority=49)
]
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
