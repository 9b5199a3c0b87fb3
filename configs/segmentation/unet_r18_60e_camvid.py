"""U-Net's expanding path over ResNet-18, from scratch on CamVid at 240 x 180; results at stride 4.

U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, arXiv 1505.04597.

    python tools/train.py segmentation/unet_r18_60e_camvid
"""

_base_ = ["../_base_/models/segmentor_r18.py", "../_base_/camvid_60e.py"]

model = dict(
    neck=dict(type="UNetDecoder", in_channels=(64, 128, 256, 512), channels=(64, 128, 256)),
    decode_head=dict(
        type="FCNHead", in_channels=64, in_index=0, channels=64, num_convs=0, concat_input=False, num_classes=11
    ),
)
