"""RetinaNet with SLAB-Swin-T: 12 epochs on COCO.

SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization,
ICML 2024, arXiv 2405.11582.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_slab_swin_tiny_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="SLABSwin", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768]),
)
