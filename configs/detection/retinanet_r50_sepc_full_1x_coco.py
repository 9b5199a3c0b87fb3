"""RetinaNet with SEPC and ResNet-50: 12 epochs on COCO, as published.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101.

Published (the authors' README): COCO val2017 AP 39.6; the number of GPUs is not stated, each had 4 pictures.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/retinanet_r50_sepc_full_1x_coco.py --launcher pytorch

Published weights need `last_padding=0`, and anchors in the middle of their cells, where mmdetection 1 put them. Without
the weights, leave both out.
"""

_base_ = [
    "../_base_/models/retinanet_r50.py",
    "../_base_/datasets/coco_detection_1333x800.py",
    "../_base_/schedules/sgd_1x.py",
    "../_base_/default_runtime.py",
]

model = dict(
    neck=[_base_.model.neck, dict(type="SEPC", in_channels=256, last_padding=0)],
    bbox_head=dict(
        _delete_=True,
        type="SEPCHead",
        bbox_head=dict(
            _base_.model.bbox_head,
            stacked_convs=0,
            anchor_generator=dict(_base_.model.bbox_head.anchor_generator, center_offset=0.5),
            loss_bbox=dict(type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
        ),
    ),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = [dict(_base_.param_scheduler[0], start_factor=1 / 3), _base_.param_scheduler[1]]
