"""RetinaNet with SEPC-lite, ResNet-50: 12 epochs on COCO. Published AP 38.5."""

_base_ = "./retinanet_r50_sepc_full_1x_coco.py"

model = dict(neck=[_base_.model.neck[0], dict(_base_.model.neck[1], pconv_deform=False)])
