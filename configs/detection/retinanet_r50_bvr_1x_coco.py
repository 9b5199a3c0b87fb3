"""RetinaNet with BVR and ResNet-50: 12 epochs on COCO.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

Published (the authors' README, single-scale test; 8 GPUs with 2 pictures each): COCO val2017 AP / AP50 / AP75
38.5 / 59.1 / 40.9.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/retinanet_r50_bvr_1x_coco.py --launcher pytorch
"""

_base_ = [
    "../_base_/models/retinanet_r50.py",
    "../_base_/datasets/coco_detection_1333x800.py",
    "../_base_/schedules/sgd_1x.py",
    "../_base_/default_runtime.py",
]

norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)

model = dict(
    neck=dict(norm_cfg=norm_cfg),
    bbox_head=dict(
        _delete_=True,
        type="BVRHead",
        bbox_head=dict(_base_.model.bbox_head, norm_cfg=norm_cfg),
        keypoint_head=dict(type="KeypointHead", norm_cfg=norm_cfg),
    ),
)
