"""Mask2Former with ResNet-18, from scratch on CamVid at 240 x 180.

Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022, arXiv 2112.01527.

    python tools/train.py segmentation/mask2former_r18_60e_camvid
"""

_base_ = ["../_base_/models/mask2former_r18.py", "../_base_/camvid_60e.py"]

model = dict(decode_head=dict(num_classes=11, loss_cls=dict(class_weight=[1.0] * 11 + [0.1])))
optim_wrapper = dict(clip_grad=dict(max_norm=0.1, norm_type=2), optimizer=dict(lr=3e-4))
