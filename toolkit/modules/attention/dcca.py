"""DCCA: squeeze & excitation with a first layer for each of two domains.

Domain Conditioned Adaptation Network, AAAI 2020, arXiv 2005.06717; its gate: Generalized Domain Conditioned
Adaptation Network, TPAMI 2021, arXiv 2103.12339.

    y = x * sigmoid(fc2 relu(fc_d mean over H, W of x))        fc_d = fc0 for the source, fc1 for the target

    gate of GDCCA: the target takes fc0 too while tanh(|s - t| / t) < eta, with s and t the means of the pooled source
    and target values, each divided by its standard deviation
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class DCCA(nn.Module):
    """Domain conditioned channel attention.

    In training the first half of a batch (rounded down) is the source domain and the rest the target; in evaluation
    all is target. The authors put it after the last norm of a caffe-style bottleneck; as a plugin of mmdet's ResNet:
    `dict(cfg=dict(type='DCCA'), position='after_conv3')`. Both first layers start alike.

    Args:
        in_channels: C of the input.
        reduction: the hidden layer has C // reduction units.

    Raises:
        ValueError: fewer channels than `reduction`.
    """

    def __init__(self, in_channels: int, reduction: int = 16):
        super().__init__()
        if in_channels < reduction:
            raise ValueError(f"{type(self).__name__}: in_channels {in_channels} is less than reduction {reduction}")
        self.fc0 = nn.Conv2d(in_channels, in_channels // reduction, 1)
        self.fc1 = nn.Conv2d(in_channels, in_channels // reduction, 1)
        self.fc1.load_state_dict(self.fc0.state_dict())
        self.fc2 = nn.Conv2d(in_channels // reduction, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        pooled = x.mean((2, 3), keepdim=True)
        if self.training:
            source, target = pooled.tensor_split([len(pooled) // 2])
            hidden = torch.cat((self.fc0(source), self.excite_target(target, source)))
        else:
            hidden = self.excite_target(pooled)
        return x * self.fc2(hidden.relu()).sigmoid()

    def excite_target(self, target: Tensor, source: Tensor | None = None) -> Tensor:
        """First layer for (B, C, 1, 1) of the target; `source` only in training."""
        return self.fc1(target)


@MODELS.register_module()
class GDCCA(DCCA):
    """`DCCA` whose target shares the source's first layer while the two domains look alike.

    Evaluation uses what the gate of the last training batch said. It is a buffer here and is saved; the published code
    forgets it, so that a model loaded from one of its files begins with a gate that is off. A negative `t` turns
    the gate on, as published.

    Args:
        in_channels: C of the input.
        reduction: as of `DCCA`.
        gate_eta: below this deviation, 0 to 1, the gate is on.
    """

    def __init__(self, in_channels: int, reduction: int = 16, gate_eta: float = 0.2):
        super().__init__(in_channels, reduction)
        self.gate_eta = gate_eta
        self.register_buffer("gate", torch.tensor(False))

    def excite_target(self, target: Tensor, source: Tensor | None = None) -> Tensor:
        if source is not None and source.numel() > 1:
            s, t = (
                part.detach().float().mean() / (part.detach().float().var() + 1e-5).sqrt() for part in (source, target)
            )
            self.gate.copy_(((s - t).abs() / t).tanh() < self.gate_eta)
        weight = torch.where(self.gate, self.fc0.weight, self.fc1.weight)
        return F.conv2d(target, weight, torch.where(self.gate, self.fc0.bias, self.fc1.bias))
