"""Backbones: one family, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.backbones.yolo_ms", "YOLOMSBackbone", "YOLOv8MSBackbone")
lazy(MODELS, "toolkit.backbones.sfm", "SFMBackbone")
