"""UPerNet with HorNet-T (7x7) from scratch on CamVid at 240 x 180.

HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions, NeurIPS 2022, arXiv 2207.14284.

    python tools/train.py segmentation/upernet_hornet_tiny_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="HorNet", arch="tiny_7x7"),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
)
