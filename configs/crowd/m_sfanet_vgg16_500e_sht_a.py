"""M-SFANet on ShanghaiTech part A, as M-SegNet there.

python tools/train.py crowd/m_sfanet_vgg16_500e_sht_a
"""

_base_ = ["m_segnet_vgg16_500e_sht_a.py"]

model = dict(network=dict(type="MSFANet"))
