"""M-SFANet on ShanghaiTech part B: as part A, without the first enlargement and the grey pictures.

    python tools/train.py crowd/m_sfanet_vgg16_500e_sht_b

The set belongs in data/shanghaitech_b (see data/README.md).
"""

_base_ = ["m_sfanet_vgg16_500e_sht_a.py"]

data_root = "data/shanghaitech_b/"
crop = (400, 400)

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="ScaleCrowd", ratio_range=(0.8, 1.2), min_side=crop[0]),
    dict(type="CropCrowd", size=crop),
    dict(type="FlipCrowd", prob=0.5),
    dict(type="GammaCrowd", gamma_range=(0.5, 1.5), prob=0.3),
    dict(type="PackCrowd", sigma=5.0),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
