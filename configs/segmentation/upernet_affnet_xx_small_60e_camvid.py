"""UPerNet with AFFNet-ET from scratch on CamVid at 240 x 180.

Adaptive Frequency Filters As Efficient Global Token Mixers, ICCV 2023, arXiv 2307.14008.

    python tools/train.py segmentation/upernet_affnet_xx_small_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="AFFNet", arch="xx_small"),
    decode_head=dict(in_channels=[48, 64, 104, 144]),
)
