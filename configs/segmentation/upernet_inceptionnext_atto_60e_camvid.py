"""UPerNet with InceptionNeXt-A from scratch on CamVid at 240 x 180.

InceptionNeXt: When Inception Meets ConvNeXt, CVPR 2024, arXiv 2303.16900.

    python tools/train.py segmentation/upernet_inceptionnext_atto_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="InceptionNeXt", arch="atto"),
    decode_head=dict(in_channels=[40, 80, 160, 320]),
)
