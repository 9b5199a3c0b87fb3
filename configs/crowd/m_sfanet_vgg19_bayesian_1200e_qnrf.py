"""M-SFANet for UCF-QNRF, as M-SegNet there.

python tools/train.py crowd/m_sfanet_vgg19_bayesian_1200e_qnrf
"""

_base_ = ["m_segnet_vgg19_bayesian_1200e_qnrf.py"]

model = dict(network=dict(type="MSFANetQNRF"))
