"""FCN: two convolutions over ResNet-18 at stride 8, from scratch on CamVid at 240 x 180.

Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, arXiv 1411.4038.

    python tools/train.py segmentation/fcn_r18_60e_camvid
"""

_base_ = ["../_base_/models/segmentor_r18.py", "../_base_/camvid_60e.py"]

model = dict(
    backbone=dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    decode_head=dict(type="FCNHead", in_channels=512, in_index=3, num_classes=11),
)
