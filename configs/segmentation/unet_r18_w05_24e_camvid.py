"""U-Net's expanding path over a ResNet-18 of half the width, from scratch on CamVid at 240 x 180: for comparisons.

U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, arXiv 1505.04597.

    python tools/train.py segmentation/unet_r18_w05_24e_camvid
"""

_base_ = ["../_base_/models/segmentor_r18.py", "../_base_/camvid_24e.py"]

model = dict(
    backbone=dict(base_channels=32, stem_channels=32),
    neck=dict(type="UNetDecoder", in_channels=(32, 64, 128, 256), channels=(32, 64, 128)),
    decode_head=dict(
        type="FCNHead",
        in_channels=32,
        in_index=0,
        channels=32,
        num_convs=0,
        concat_input=False,
        num_classes=11,
        # toolkit class-weights --method enet, divided by their mean over all pixels
        loss_decode=dict(class_weight=[0.8, 0.6, 4.8, 0.5, 2.2, 1.2, 4.5, 4.5, 1.8, 5.4, 6.2], avg_non_ignore=False),
    ),
)
