"""UPerNet with ViT-CoMer-T from scratch on CamVid at 240 x 180.

ViT-CoMer: Vision Transformer with Convolutional Multi-scale Feature Interaction for Dense Predictions, CVPR 2024,
arXiv 2403.07392.

    python tools/train.py segmentation/upernet_vitcomer_tiny_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="ViTCoMer", arch="tiny"),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
)
