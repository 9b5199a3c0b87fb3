"""RetinaNet with SEPC in place of its towers, ResNet-18 from scratch on BCCD; with towers it is retinanet_r18_8e_bccd.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101.

    python tools/train.py detection/retinanet_r18_sepc_8e_bccd
"""

_base_ = "./retinanet_r18_8e_bccd.py"

model = dict(
    neck=[_base_.model.neck, dict(type="SEPC", in_channels=128)],
    bbox_head=dict(
        _delete_=True, type="SEPCHead", bbox_head=dict(_base_.model.bbox_head, stacked_convs=0, norm_cfg=None)
    ),
)
