"""Necks: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.necks.yolo_ms", "YOLOMSPAFPN", "YOLOv8MSPAFPN")
