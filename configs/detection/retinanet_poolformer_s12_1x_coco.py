"""RetinaNet with PoolFormer-S12: 12 epochs on COCO.

MetaFormer Is Actually What You Need for Vision, CVPR 2022, arXiv 2111.11418.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_poolformer_s12_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="PoolFormer", arch="s12", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 320, 512]),
)
