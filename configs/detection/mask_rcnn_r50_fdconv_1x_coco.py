"""Mask R-CNN with FDConv in ResNet-50: 12 epochs on COCO, boxes and masks.

Frequency Dynamic Convolution for Dense Image Prediction, CVPR 2025, arXiv 2503.18783.

    torchrun --nproc_per_node 8 tools/train.py configs/detection/mask_rcnn_r50_fdconv_1x_coco.py --launcher pytorch

The backbone begins exactly as the plain ResNet-50 whose weights it loads. The schedule is mmdetection's for 8 GPUs
with 2 pictures each.
"""

_base_ = "faster_rcnn_r50_fdconv_1x_coco.py"

model = dict(
    type="MaskRCNN",
    data_preprocessor=dict(pad_mask=True),
    roi_head=dict(
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=0.5)),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric=["bbox", "segm"])
test_evaluator = val_evaluator
