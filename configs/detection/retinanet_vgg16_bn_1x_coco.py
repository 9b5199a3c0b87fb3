"""RetinaNet with VGG-16 with batch norms, its maps at strides 8 and 16: 12 epochs on COCO.

Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, arXiv 1409.1556.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_vgg16_bn_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="VGG16BN", out_indices=(3, 4)),
    neck=dict(in_channels=[512, 512]),
)
