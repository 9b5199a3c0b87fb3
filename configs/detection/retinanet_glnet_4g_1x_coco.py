"""RetinaNet with GLNet-4G: 12 epochs on COCO.

Revisiting the Integration of Convolution and Attention for Vision Backbone, NeurIPS 2024, arXiv 2411.14429.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_glnet_4g_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="GLNet", arch="4g", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512]),
)
