"""Mask2Former with ResNet-18 from random weights: 3 encoder and 3 decoder layers of 128 channels, 50 queries.

Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022, arXiv 2112.01527. Losses and matching
are the published ones; the published network has 6 and 9 layers of 256 channels and 100 queries.
"""

_base_ = "segmentor_r18.py"

channels = 128
attention = dict(embed_dims=channels, num_heads=8, batch_first=True)
sine = dict(num_feats=channels // 2, normalize=True)

model = dict(
    decode_head=dict(
        _delete_=True,
        type="Mask2FormerHead",
        in_channels=[64, 128, 256, 512],
        strides=[4, 8, 16, 32],
        feat_channels=channels,
        out_channels=channels,
        num_classes=19,
        num_queries=50,
        num_transformer_feat_level=3,
        pixel_decoder=dict(
            type="mmdet.MSDeformAttnPixelDecoder",
            num_outs=3,
            norm_cfg=dict(type="GN", num_groups=32),
            act_cfg=dict(type="ReLU"),
            encoder=dict(
                num_layers=3,
                layer_cfg=dict(
                    self_attn_cfg=dict(**attention, num_levels=3, num_points=4, dropout=0.0),
                    ffn_cfg=dict(embed_dims=channels, feedforward_channels=4 * channels, ffn_drop=0.0),
                ),
            ),
            positional_encoding=sine,
        ),
        positional_encoding=sine,
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(embed_dims=channels, feedforward_channels=8 * channels, ffn_drop=0.0),
            ),
            init_cfg=None,
        ),
        loss_cls=dict(type="mmdet.CrossEntropyLoss", loss_weight=2.0, class_weight=[1.0] * 19 + [0.1]),
        loss_mask=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(type="mmdet.DiceLoss", naive_dice=True, eps=1.0, loss_weight=5.0),
        train_cfg=dict(
            num_points=12544,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
            assigner=dict(
                type="mmdet.HungarianAssigner",
                match_costs=[
                    dict(type="mmdet.ClassificationCost", weight=2.0),
                    dict(type="mmdet.CrossEntropyLossCost", weight=5.0, use_sigmoid=True),
                    dict(type="mmdet.DiceCost", weight=5.0, pred_act=True, eps=1.0),
                ],
            ),
            sampler=dict(type="mmdet.MaskPseudoSampler"),
        ),
    )
)
