"""Heads: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.heads.yolo_ms", "YOLOMSHead")
lazy(MODELS, "toolkit.heads.yolov8", "YOLOv8Head")
