"""FreeAnchor with SEPC-lite, ResNet-50: 12 epochs on COCO. Published AP 41.9."""

_base_ = "./freeanchor_r50_sepc_full_1x_coco.py"

model = dict(neck=[_base_.model.neck[0], dict(_base_.model.neck[1], pconv_deform=False)])
