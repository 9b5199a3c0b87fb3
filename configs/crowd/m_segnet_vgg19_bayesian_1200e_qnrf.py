"""M-SegNet for UCF-QNRF: Bayesian loss on points, crops of 512, Adam under Lookahead, up to 1200 epochs.

    python tools/train.py crowd/m_segnet_vgg19_bayesian_1200e_qnrf

The set belongs in data/ucf_qnrf (see data/README.md), its pictures with shorter sides of 512 pixels or more. Published:
the checkpoint is that of the least 2 * root mean squared error + mean absolute error, here that of the least MAE.
"""

_base_ = ["../_base_/datasets/crowd_points.py", "../_base_/default_runtime.py"]

data_root = "data/ucf_qnrf/"
crop = (512, 512)
max_epochs = 1200

model = dict(
    type="CrowdCounter",
    network=dict(
        type="MSegNetQNRF",
        backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="torchvision://vgg19")),
    ),
    loss=dict(type="BayesianLoss", sigma=8.0, background_ratio=1.0, stride=2),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="ScaleCrowd", ratio_range=(1.0, 1.0), min_side=crop[0]),
    dict(type="CropCrowd", size=crop),
    dict(type="FlipCrowd", prob=0.5),
    dict(type="PackCrowd", min_share=0.3),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeCrowd", multiple=16),
    dict(type="PackCrowd"),
]
train_dataloader = dict(batch_size=5, num_workers=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Lookahead", base="Adam", lr=5e-4, weight_decay=1e-4, alpha=0.5, k=6),
)
auto_scale_lr = dict(base_batch_size=5)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=5, val_begin=max_epochs // 2)
default_hooks = dict(
    checkpoint=dict(save_best="crowd/MAE", rule="less"),
)
