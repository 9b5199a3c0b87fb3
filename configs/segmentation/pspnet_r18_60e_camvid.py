"""PSPNet: pooled pyramid over ResNet-18 at stride 8, from scratch on CamVid at 240 x 180.

Pyramid Scene Parsing Network, CVPR 2017, arXiv 1612.01105.

    python tools/train.py segmentation/pspnet_r18_60e_camvid
"""

_base_ = "fcn_r18_60e_camvid.py"

model = dict(decode_head=dict(type="PSPHead", pool_scales=(1, 2, 3, 6)))
