"""What only segmentation has: data sets, metrics, class weights and the inferencer."""

from mmengine.registry import DATASETS, METRICS, TRANSFORMS

from toolkit.registry import lazy

lazy(DATASETS, "toolkit.segmentation.datasets", "FolderSegmentation")
lazy(TRANSFORMS, "toolkit.segmentation.datasets", "LoadMask")
lazy(METRICS, "toolkit.segmentation.metrics", "BoundaryIoU")
