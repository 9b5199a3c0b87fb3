"""UPerNet with a ResNet-18 of half the width and spatial frequency modulation before its three stages that halve.

Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025, arXiv 2507.11893.

    python tools/train.py segmentation/upernet_r18_w05_sfm_24e_camvid
"""

_base_ = "upernet_r18_w05_24e_camvid.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SFMBackbone",
        backbone=dict(
            type="ResNet",
            depth=18,
            base_channels=32,
            stem_channels=32,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
            style="pytorch",
        ),
        before=("layer2", "layer3", "layer4"),
        outputs=(0, 1, 2, 3),
    ),
    neck=dict(type="MSAU", in_channels=(32, 64, 128, 256), unmodulated=1),
)
