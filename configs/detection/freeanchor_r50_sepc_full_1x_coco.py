"""FreeAnchor with SEPC and ResNet-50: 12 epochs on COCO, as published.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101; FreeAnchor: Learning to Match
Anchors for Visual Object Detection, NeurIPS 2019, arXiv 1909.02466.

Published (the authors' README): COCO val2017 AP 43.0.
"""

_base_ = "./retinanet_r50_sepc_full_1x_coco.py"

model = dict(
    bbox_head=dict(
        bbox_head=dict(
            type="FreeAnchorRetinaHead",
            bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_bbox=dict(loss_weight=0.75),
        )
    )
)
