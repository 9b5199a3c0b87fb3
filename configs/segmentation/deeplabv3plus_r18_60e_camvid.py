"""DeepLabV3+: dilated convolutions over ResNet-18 at stride 8, joined with the map at stride 4, on CamVid at 240 x 180.

Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, ECCV 2018, arXiv 1802.02611.

    python tools/train.py segmentation/deeplabv3plus_r18_60e_camvid
"""

_base_ = "fcn_r18_60e_camvid.py"

model = dict(
    decode_head=dict(type="DepthwiseSeparableASPPHead", dilations=(1, 12, 24, 36), c1_in_channels=64, c1_channels=48)
)
