"""UPerNet with SpaRTAN-T from scratch on CamVid at 240 x 180.

SpaRTAN: Spatial Reinforcement Token-based Aggregation Network for Visual Recognition, preprint 2025, arXiv 2507.10999.

    python tools/train.py segmentation/upernet_spartan_t_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="SpaRTAN", arch="t"),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
)
