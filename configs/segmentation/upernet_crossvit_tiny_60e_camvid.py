"""UPerNet with CrossViT-Ti, fine levels made of its small patches and coarse ones of its large, from scratch on
CamVid at 240 x 180.

CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification, ICCV 2021, arXiv 2103.14899.

    python tools/train.py segmentation/upernet_crossvit_tiny_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="CrossViT", arch="tiny_240", out_indices=(1, 2, 4, 5)),
    neck=dict(type="MultiLevelNeck", in_channels=[96, 96, 192, 192], out_channels=128, scales=[4, 2, 1, 0.5]),
    decode_head=dict(in_channels=[128, 128, 128, 128]),
)
