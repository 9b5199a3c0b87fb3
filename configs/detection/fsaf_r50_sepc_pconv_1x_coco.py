"""FSAF with plain pyramid convolutions, ResNet-50: 12 epochs on COCO. Published AP 38.6."""

_base_ = "./fsaf_r50_sepc_full_1x_coco.py"

model = dict(
    neck=[_base_.model.neck[0], dict(_base_.model.neck[1], pconv_deform=False, lcconv_deform=False, ibn=False)]
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
