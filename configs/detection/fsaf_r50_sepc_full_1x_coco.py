"""FSAF with SEPC and ResNet-50: 12 epochs on COCO, as published.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101; Feature Selective Anchor-Free
Module for Single-Shot Object Detection, CVPR 2019, arXiv 1903.00621.

Published (the authors' README): COCO val2017 AP 41.6, on 8 GPUs. The box channels of the published weights come in the
order bottom, top, left, right.
"""

_base_ = "./retinanet_r50_sepc_full_1x_coco.py"

model = dict(
    bbox_head=dict(
        bbox_head=dict(
            type="FSAFHead",
            reg_decoded_bbox=True,
            anchor_generator=dict(octave_base_scale=1, scales_per_octave=1, ratios=[1.0]),
            bbox_coder=dict(_delete_=True, type="BTLRBBoxCoder", normalizer=1.0),
            loss_cls=dict(reduction="none"),
            loss_bbox=dict(_delete_=True, type="IoULoss", eps=1e-6, loss_weight=1.0, reduction="none"),
        )
    ),
    train_cfg=dict(
        assigner=dict(_delete_=True, type="CenterRegionAssigner", pos_scale=0.2, neg_scale=0.2, min_pos_iof=0.01)
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=10))
