"""RetinaNet with SMT-T: 12 epochs on COCO.

Scale-Aware Modulation Meet Transformer, ICCV 2023, arXiv 2307.08579.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_smt_tiny_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="SMT", arch="tiny", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512]),
)
