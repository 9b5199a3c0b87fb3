"""UPerNet with UniRepLKNet-A from scratch on CamVid at 240 x 180.

UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video, Point Cloud, Time-Series and Image
Recognition, CVPR 2024, arXiv 2311.15599.

    python tools/train.py segmentation/upernet_unireplknet_a_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="UniRepLKNet", arch="a"),
    decode_head=dict(in_channels=[40, 80, 160, 320]),
)
