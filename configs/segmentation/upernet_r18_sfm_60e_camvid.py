"""UPerNet with ResNet-18 and spatial frequency modulation before its three stages that halve the map.

Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025, arXiv 2507.11893.

    python tools/train.py segmentation/upernet_r18_sfm_60e_camvid
"""

_base_ = "upernet_r18_60e_camvid.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SFMBackbone",
        backbone=dict(
            type="ResNet",
            depth=18,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
            style="pytorch",
        ),
        before=("layer2", "layer3", "layer4"),
        outputs=(0, 1, 2, 3),
    ),
    neck=dict(type="MSAU", in_channels=(64, 128, 256, 512), unmodulated=1),
)
