"""U-Net with ResNet-18 and scSE, spatial and channel squeeze and excitation, after each stage of the decoder.

Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional Networks, MICCAI 2018, arXiv 1803.02579.

    python tools/train.py segmentation/unet_r18_scse_60e_camvid
"""

_base_ = "unet_r18_60e_camvid.py"

model = dict(neck=dict(attention_cfg=dict(type="scSE")))
