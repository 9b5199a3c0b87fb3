"""UPerNet with ResNet-18 from random weights, 128 channels.

Unified Perceptual Parsing for Scene Understanding, ECCV 2018, arXiv 1807.10221.
"""

_base_ = "segmentor_r18.py"

model = dict(
    decode_head=dict(
        type="UPerHead",
        in_channels=[64, 128, 256, 512],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
    )
)
