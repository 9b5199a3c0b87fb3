"""Heads: one paper, one file."""

from mmengine.registry import MODELS, TASK_UTILS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.heads.yolo_ms", "YOLOMSHead")
lazy(MODELS, "toolkit.heads.yolov8", "YOLOv8Head")
lazy(MODELS, "toolkit.heads.bvr", "BVRHead")
lazy(MODELS, "toolkit.heads.keypoint_head", "KeypointHead")
lazy(MODELS, "toolkit.heads.atss_dcn", "ATSSHeadDCN")
lazy(MODELS, "toolkit.heads.sepc", "SEPCHead")
lazy(TASK_UTILS, "toolkit.heads.sepc", "BTLRBBoxCoder")
