"""Image classification: one class for each picture, and features of pictures for other classifiers."""

from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.classification.model", "ImageClassifier", "LinearHead")
lazy(DATASETS, "toolkit.classification.datasets", "FolderClassification", "DigitClassification")
lazy(TRANSFORMS, "toolkit.classification.transforms", "RandomResizedCrop", "PackClass")
lazy(METRICS, "toolkit.classification.metrics", "ClassAccuracy")
