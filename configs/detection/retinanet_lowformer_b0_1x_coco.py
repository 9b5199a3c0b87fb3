"""RetinaNet with LowFormer-B0: 12 epochs on COCO.

LowFormer: Hardware Efficient Design for Convolutional Transformer Backbones, WACV 2025, arXiv 2409.03460.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_lowformer_b0_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="LowFormer", arch="b0", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[64, 128, 256]),
)
