"""UPerNet with DHVT-T, a pyramid made of its last map, from scratch on CamVid at 240 x 180.

Bridging the Gap Between Vision Transformers and Convolutional Neural Networks on Small Datasets, NeurIPS 2022,
arXiv 2210.05958.

    python tools/train.py segmentation/upernet_dhvt_tiny_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="DHVT", arch="tiny"),
    neck=dict(type="SimpleFeaturePyramid", in_channels=192, out_channels=128, num_outs=4),
    decode_head=dict(in_channels=[128, 128, 128, 128]),
)
