"""UPerNet with MobileNetV4-S of timm from scratch on CamVid at 240 x 180.

PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.

    python tools/train.py segmentation/upernet_timm_mobilenetv4_small_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(_delete_=True, type="TimmBackbone", arch="mobilenetv4_conv_small", out_indices=(1, 2, 3, 4)),
    decode_head=dict(in_channels=[32, 64, 96, 960]),
)
