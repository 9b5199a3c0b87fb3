"""M-SFANet on ShanghaiTech part B, as M-SegNet there.

python tools/train.py crowd/m_sfanet_vgg16_500e_sht_b
"""

_base_ = ["m_segnet_vgg16_500e_sht_b.py"]

model = dict(network=dict(type="MSFANet"))
