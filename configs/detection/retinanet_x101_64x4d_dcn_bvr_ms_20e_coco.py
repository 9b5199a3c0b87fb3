"""RetinaNet with BVR and deformable ResNeXt-101 64x4d: 20 epochs on COCO at many scales.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

Published (the authors' README, single-scale test; 8 GPUs with 2 pictures each): COCO val2017 AP / AP50 / AP75
46.5 / 66.3 / 50.6.

    CONFIG=configs/detection/retinanet_x101_64x4d_dcn_bvr_ms_20e_coco.py
    torchrun --nproc_per_node 8 tools/train.py $CONFIG --launcher pytorch
"""

_base_ = [
    "../_base_/models/bvr_x101_64x4d_dcn.py",
    "../_base_/datasets/coco_detection_ms.py",
    "../_base_/schedules/sgd_20e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="RetinaNet",
    neck=dict(add_extra_convs="on_input"),
    bbox_head=dict(
        bbox_head=dict(
            type="RetinaHead",
            anchor_generator=dict(
                type="AnchorGenerator",
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=_base_.strides,
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
)
