"""YOLO-MS-S with SE after the MS-Blocks of the backbone: 300 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 8 pictures each): 8,130,678 parameters, 15.6 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 46.2 / 26.9 / 50.5 / 63.0.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolo_ms_s_se_300e_coco.py --launcher pytorch
"""

_base_ = "./yolo_ms_s_300e_coco.py"

model = dict(backbone=dict(attention_cfg=dict(type="SE")))
