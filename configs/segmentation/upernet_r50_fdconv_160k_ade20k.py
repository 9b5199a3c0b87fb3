"""UPerNet with FDConv in ResNet-50: 160,000 iterations of 16 pictures on ADE20K.

Frequency Dynamic Convolution for Dense Image Prediction, CVPR 2025, arXiv 2503.18783.

    torchrun --nproc_per_node 4 tools/train.py configs/segmentation/upernet_r50_fdconv_160k_ade20k.py --launcher pytorch

The backbone begins exactly as the plain ResNet-50 whose weights it loads. The schedule is mmsegmentation's.
"""

_base_ = [
    "../_base_/models/upernet_r18.py",
    "../_base_/datasets/ade20k_512.py",
    "../_base_/schedules/sgd_160k.py",
    "../_base_/default_runtime.py",
]

default_scope = "mmseg"
norm_cfg = dict(type="SyncBN", requires_grad=True)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=16000, save_best="seg/mIoU"))

model = dict(
    data_preprocessor=dict(size=(512, 512), size_divisor=None, test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type="FDConvResNet",
        depth=50,
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048], channels=512, num_classes=150, norm_cfg=norm_cfg),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
)
