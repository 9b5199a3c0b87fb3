"""RetinaNet with ConvNeXt-T: 12 epochs on COCO.

A ConvNet for the 2020s, CVPR 2022, arXiv 2201.03545.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_convnext_tiny_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="ConvNeXt", arch="tiny", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768]),
)
