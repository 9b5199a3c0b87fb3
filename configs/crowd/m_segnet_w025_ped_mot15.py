"""M-SegNet of a quarter of the width, from scratch on pedestrians of two cameras; to be compared with a detector.

    python data/convert.py crowd data/ped_mot15/train.json data/ped_mot15/train_points.json
    python data/convert.py crowd data/ped_mot15/val.json data/ped_mot15/val_points.json
    python tools/train.py crowd/m_segnet_w025_ped_mot15

Whole frames at half size. The detector is `detection/yolo_ms_xs_40e_ped_mot15`, which says the errors of its count too.
"""

_base_ = "m_segnet_w025_mall.py"

data_root = "data/ped_mot15/"
max_epochs = 60

train_dataloader = dict(dataset=dict(data_root=data_root, ann_file="train_points.json"))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file="val_points.json"))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
        convert_to_iter_based=True,
    ),
]  # fmt: skip
