"""RetinaNet with BVR and ResNet-18 from scratch on BCCD; without BVR it is retinanet_r18_8e_bccd.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

    python tools/train.py detection/retinanet_r18_bvr_8e_bccd
"""

_base_ = "./retinanet_r18_8e_bccd.py"

norm_cfg = dict(type="GN", num_groups=32)

model = dict(
    bbox_head=dict(
        _delete_=True,
        type="BVRHead",
        bbox_head=_base_.model.bbox_head,
        keypoint_head=dict(type="KeypointHead", logits_convs=0, norm_cfg=norm_cfg),
    )
)
