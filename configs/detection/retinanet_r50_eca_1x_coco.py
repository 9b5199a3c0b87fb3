"""RetinaNet with ECA in ResNet-50: 12 epochs on COCO.

ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020, arXiv 1910.03151.

    torchrun --nproc_per_node 8 tools/train.py detection/retinanet_r50_eca_1x_coco --launcher pytorch
"""

_base_ = "../_base_/retinanet_adamw_1x_coco.py"

model = dict(
    backbone=dict(type="ECAResNet", depth=50, norm_eval=False, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 1024, 2048]),
)
