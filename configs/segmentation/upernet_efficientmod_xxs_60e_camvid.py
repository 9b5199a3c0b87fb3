"""UPerNet with EfficientMod-XXS from scratch on CamVid at 240 x 180.

Efficient Modulation for Vision Networks, ICLR 2024, arXiv 2403.19963.

    python tools/train.py segmentation/upernet_efficientmod_xxs_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="EfficientMod", arch="xxs"),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
)
