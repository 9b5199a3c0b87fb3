"""M-SegNet on ShanghaiTech part A: density maps of sigma 5, crops of 400, Adam.

    python tools/train.py crowd/m_segnet_vgg16_500e_sht_a

The set belongs in data/shanghaitech_a (see data/README.md); the VGG begins with torchvision's weights of ImageNet,
which are downloaded. The recipe is that of SFANet's training code; the authors do not state that theirs was exactly
this.
"""

_base_ = [
    "../_base_/datasets/crowd_points.py",
    "../_base_/schedules/crowd_density_500e.py",
    "../_base_/default_runtime.py",
]

data_root = "data/shanghaitech_a/"
crop = (400, 400)

model = dict(
    type="CrowdCounter",
    network=dict(
        type="MSegNet",
        backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="torchvision://vgg16_bn")),
    ),
    loss=dict(type="DensityAttentionLoss", density_weight=1.0, attention_weight=0.1, threshold=0.004),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="ScaleCrowd", ratio_range=(1.0, 1.0), min_side=512),
    dict(type="ScaleCrowd", ratio_range=(0.8, 1.2), min_side=crop[0]),
    dict(type="CropCrowd", size=crop),
    dict(type="FlipCrowd", prob=0.5),
    dict(type="GammaCrowd", gamma_range=(0.5, 1.5), prob=0.3),
    dict(type="GreyCrowd", prob=0.1),
    dict(type="PackCrowd", sigma=5.0),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeCrowd", multiple=16),
    dict(type="PackCrowd", sigma=5.0),
]
train_dataloader = dict(batch_size=8, num_workers=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(
    checkpoint=dict(save_best="crowd/MAE", rule="less"),
)
