"""RetinaNet with CvT-13, whose maps end at stride 16: 12 epochs on COCO.

CvT: Introducing Convolutions to Vision Transformers, ICCV 2021, arXiv 2103.15808.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_cvt_13_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="CvT", arch="13", out_indices=(1, 2)),
    neck=dict(in_channels=[192, 384]),
)
