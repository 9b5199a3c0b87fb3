"""What only detection has: data sets, results and the inferencer."""

from mmengine.registry import DATASETS

from toolkit.registry import lazy

lazy(DATASETS, "toolkit.detection.datasets", "CocoDetection")
