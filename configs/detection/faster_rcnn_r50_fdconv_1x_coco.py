"""Faster R-CNN with FDConv in ResNet-50: 12 epochs on COCO.

Frequency Dynamic Convolution for Dense Image Prediction, CVPR 2025, arXiv 2503.18783.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/faster_rcnn_r50_fdconv_1x_coco.py --launcher pytorch

The backbone begins exactly as the plain ResNet-50 whose weights it loads. The schedule is mmdetection's for 8 GPUs
with 2 pictures each.
"""

_base_ = [
    "../_base_/models/faster_rcnn_r50.py",
    "../_base_/datasets/coco_detection_1333x800.py",
    "../_base_/schedules/sgd_1x.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(type="FDConvResNet"))
optim_wrapper = dict(optimizer=dict(lr=0.02))
