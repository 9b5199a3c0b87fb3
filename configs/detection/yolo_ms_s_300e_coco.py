"""YOLO-MS-S: 300 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 8 pictures each): 8,052,462 parameters, 15.6 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 46.2 / 27.5 / 50.6 / 62.9.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolo_ms_s_300e_coco.py --launcher pytorch
"""

_base_ = "./yolo_ms_xs_300e_coco.py"

deepen_factor = 1 / 3
widen_factor = 0.54

model = dict(
    backbone=dict(deepen_factor=deepen_factor, widen_factor=widen_factor),
    neck=dict(deepen_factor=deepen_factor, widen_factor=widen_factor),
    bbox_head=dict(widen_factor=widen_factor),
)
