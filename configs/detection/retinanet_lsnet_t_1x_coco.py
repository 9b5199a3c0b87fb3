"""RetinaNet with LSNet-T, whose maps begin at stride 8: 12 epochs on COCO.

LSNet: See Large, Focus Small, CVPR 2025, arXiv 2503.23135.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_lsnet_t_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="LSNet", arch="t"),
    neck=dict(in_channels=[64, 128, 256, 384]),
)
