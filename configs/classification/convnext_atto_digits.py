"""ConvNeXt atto from scratch on handwritten digits, which are made on the spot.

A ConvNet for the 2020s, CVPR 2022, arXiv 2201.03545; the size is timm's.

    python tools/train.py classification/convnext_atto_digits
"""

_base_ = ["resnet18_digits.py"]

model = dict(
    backbone=dict(_delete_=True, type="ConvNeXt", arch="atto", out_indices=(3,), drop_path_rate=0.1),
)
