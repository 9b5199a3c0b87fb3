"""RetinaNet with pyramid convolutions and integrated batch norm, ResNet-50: 12 epochs on COCO. Published AP 37.8."""

_base_ = "./retinanet_r50_sepc_full_1x_coco.py"

model = dict(neck=[_base_.model.neck[0], dict(_base_.model.neck[1], pconv_deform=False, lcconv_deform=False)])
