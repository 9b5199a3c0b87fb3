"""UPerNet with NiNformer, a pyramid made of its last map, from scratch on CamVid at 240 x 180.

NiNformer: A Network in Network Transformer with Token Mixing Generated Gating Function, Neural Computing and
Applications 2025, arXiv 2403.02411.

Its perceptrons over tokens are built for pictures of one size, the crops of training: what is smaller is padded to it,
what is larger is cut into overlapping pieces of it.

    python tools/train.py segmentation/upernet_ninformer_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

size = (160, 224)

model = dict(
    data_preprocessor=dict(size=size, size_divisor=None, test_cfg=dict(_delete_=True, size=(192, 256))),
    backbone=dict(
        _delete_=True,
        type="NiNformer",
        arch=dict(patch_size=8, d_model=256, d_ffn=512, num_layers=4),  # as published but for patches of 8
        image_size=size,
    ),
    neck=dict(type="SimpleFeaturePyramid", in_channels=256, out_channels=128, scales=(2, 1, 0.5, 0.25), num_outs=4),
    decode_head=dict(in_channels=[128, 128, 128, 128]),
    test_cfg=dict(mode="slide", crop_size=size, stride=(32, 32)),
)
