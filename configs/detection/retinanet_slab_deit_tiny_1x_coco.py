"""RetinaNet with SLAB-DeiT-T: 12 epochs on COCO.

SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization,
ICML 2024, arXiv 2405.11582.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_slab_deit_tiny_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="SLABDeiT"),
    neck=dict(_delete_=True, type="SimpleFeaturePyramid", in_channels=192, out_channels=256, scales=(2, 1, 0.5)),
)
