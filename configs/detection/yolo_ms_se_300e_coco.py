"""YOLO-MS with SE after the MS-Blocks of the backbone: 300 epochs on COCO, from scratch.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480.

Published (the authors' README; 8 GPUs with 8 pictures each): 22,166,492 parameters, 40.1 G multiply-adds at
640 x 640, COCO val2017 AP / small / medium / large 50.8 / 33.2 / 54.8 / 66.4.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/yolo_ms_se_300e_coco.py --launcher pytorch
"""

_base_ = "./yolo_ms_300e_coco.py"

model = dict(backbone=dict(attention_cfg=dict(type="SE")))
