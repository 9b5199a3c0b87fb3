"""RetinaNet with ARC in ResNet-50: 12 epochs on COCO.

Adaptive Rotated Convolution for Rotated Object Detection, ICCV 2023, arXiv 2303.07820.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_r50_arc_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="ARCResNet", depth=50, norm_eval=False, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 1024, 2048]),
)
