"""RetinaNet with DeepMAD-R18: 12 epochs on COCO.

DeepMAD: Mathematical Architecture Design for Deep Convolutional Neural Network, CVPR 2023, arXiv 2303.02165.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_deepmad_r18_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="DeepMAD", arch="R18", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[384, 1024, 672]),
)
