"""UPerNet with ResNet-18 from scratch on CamVid at 240 x 180: what other methods are held against.

python tools/train.py segmentation/upernet_r18_60e_camvid
"""

_base_ = ["../_base_/models/upernet_r18.py", "../_base_/camvid_60e.py"]

model = dict(decode_head=dict(num_classes=11))
