"""SegFormer's head, linear maps of all strides joined at stride 4, over ResNet-18, on CamVid at 240 x 180.

SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, NeurIPS 2021, arXiv 2105.15203.

    python tools/train.py segmentation/segformer_r18_60e_camvid
"""

_base_ = ["../_base_/models/segmentor_r18.py", "../_base_/camvid_60e.py"]

model = dict(
    decode_head=dict(type="SegformerHead", in_channels=[64, 128, 256, 512], in_index=[0, 1, 2, 3], num_classes=11)
)
