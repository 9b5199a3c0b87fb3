"""ResNet-18 from ImageNet on pictures of your own, in train/ and val/ with a folder for each class.

    python tools/train.py classification/resnet18_30e_folders --data-root my_set --cfg-options model.head.num_classes=5

torchvision's weights are downloaded once; a file takes their place with
`model.backbone.init_cfg.checkpoint=resnet18.pth`, and `model.backbone.init_cfg=None` begins with random weights.
"""

_base_ = ["../_base_/datasets/class_folders.py"]

max_epochs = 30

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ResNet",
        depth=18,
        out_indices=(3,),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
    ),
    head=dict(type="LinearHead", num_classes=10, label_smoothing=0.1),
    mixup=0.2,
)

optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-6,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
