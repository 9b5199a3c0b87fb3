"""ATSS with BVR and deformable ResNeXt-101 64x4d: 20 epochs on COCO at many scales.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

Published (the authors' README, single-scale test; 8 GPUs with 2 pictures each): COCO val2017 AP / AP50 / AP75
50.6 / 69.5 / 55.3.

    CONFIG=configs/detection/atss_x101_64x4d_dcn_bvr_ms_20e_coco.py
    torchrun --nproc_per_node 8 tools/train.py $CONFIG --launcher pytorch

The published configuration asks for a deformable convolution at the end of the head's towers, which the head of its
mmdetection does not take. It is built here; whether the published checkpoint has it is not known.
"""

_base_ = [
    "../_base_/models/bvr_x101_64x4d_dcn.py",
    "../_base_/datasets/coco_detection_ms.py",
    "../_base_/schedules/sgd_20e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="ATSS",
    bbox_head=dict(
        bbox_head=dict(
            type="ATSSHeadDCN",
            anchor_generator=dict(
                type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=_base_.strides
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
            loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        ),
        share_geometry=True,
    ),
    train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False),
)
