"""U-Net with a ResNet-18 of half the width and scSE after each stage of the decoder.

Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional Networks, MICCAI 2018, arXiv 1803.02579.

    python tools/train.py segmentation/unet_r18_w05_scse_24e_camvid
"""

_base_ = "unet_r18_w05_24e_camvid.py"

model = dict(neck=dict(attention_cfg=dict(type="scSE")))
