"""YOLO-MS-XS: 300 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 8 pictures each): 4,493,932 parameters, 8.7 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 43.1 / 24.0 / 47.8 / 59.1.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolo_ms_xs_300e_coco.py --launcher pytorch
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/yolo_ms.py",
    "../_base_/datasets/coco_detection_640.py",
    "../_base_/schedules/yolo_ms_300e.py",
]

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=2e-4, update_buffers=True, priority=49),
    dict(type="PipelineSwitchHook", switch_epoch=280, switch_pipeline={{_base_.plain_train_pipeline}}),
]
