"""Necks: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.necks.yolo_ms", "YOLOMSPAFPN", "YOLOv8MSPAFPN")
lazy(MODELS, "toolkit.necks.msau", "MSAU")
lazy(MODELS, "toolkit.necks.sepc", "SEPC")
lazy(MODELS, "toolkit.necks.simple_feature_pyramid", "SimpleFeaturePyramid")
lazy(MODELS, "toolkit.necks.unet_decoder", "UNetDecoder")
