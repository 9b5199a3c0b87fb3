"""RetinaNet with SEPC-lite (only the last two convolutions deform) and ResNet-18 from scratch on BCCD.

python tools/train.py detection/retinanet_r18_sepclite_8e_bccd
"""

_base_ = "./retinanet_r18_sepc_8e_bccd.py"

model = dict(neck=[_base_.model.neck[0], dict(_base_.model.neck[1], pconv_deform=False)])
