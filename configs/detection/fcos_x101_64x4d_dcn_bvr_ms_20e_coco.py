"""FCOS with BVR and deformable ResNeXt-101 64x4d: 20 epochs on COCO at many scales.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

Published (the authors' README, single-scale test; 8 GPUs with 2 pictures each): COCO val2017 AP / AP50 / AP75
48.7 / 68.0 / 52.9.

    CONFIG=configs/detection/fcos_x101_64x4d_dcn_bvr_ms_20e_coco.py
    torchrun --nproc_per_node 8 tools/train.py $CONFIG --launcher pytorch
"""

_base_ = [
    "../_base_/models/bvr_x101_64x4d_dcn.py",
    "../_base_/datasets/coco_detection_ms.py",
    "../_base_/schedules/sgd_20e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="FCOS",
    neck=dict(relu_before_extra_convs=True),
    bbox_head=dict(
        bbox_head=dict(
            type="FCOSHead",
            strides=_base_.strides,
            norm_cfg=None,
            conv_bias=True,
            dcn_on_last_conv=True,
            norm_on_bbox=True,
            centerness_on_reg=True,
            center_sampling=True,
            center_sample_radius=1.5,
            loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
            loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        ),
        keypoint_head=dict(logits_convs=0),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0), clip_grad=dict(max_norm=35, norm_type=2)
)
