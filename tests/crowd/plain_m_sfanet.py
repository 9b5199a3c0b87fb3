"""M-SFANet written out plainly from its description, on a state dict of ours: the yardstick of results and of time."""

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_m_sfanet(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Density and attention of pictures (B, 3, H, W), sides multiples of 16."""

    def conv(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=padding, dilation=dilation)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    def block(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        return norm(f"{name}.bn", conv(f"{name}.conv", x, dilation)).relu()

    def up(x: Tensor, factor: int) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)

    taps = []
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
        x = F.max_pool2d(x, 2) if stage > 1 else x
        for place in range(1, depth + 1):
            x = block(f"vgg.conv{stage}_{place}", x)
        taps.append(x)
    _, half, quarter, eighth, deep = taps

    maps, weights = [], []
    for i, size in enumerate((1, 2, 3, 6)):
        scale = conv(f"context.scales.{i}", F.adaptive_avg_pool2d(eighth, size))
        maps.append(F.interpolate(scale, eighth.shape[2:], mode="bilinear", align_corners=False))
        weights.append(conv("context.weight_net", eighth - maps[-1]).sigmoid())
    mean = sum(weight * scale for weight, scale in zip(weights, maps, strict=True)) / sum(weights)
    context = conv("context.bottleneck", torch.cat((mean, eighth), 1)).relu()

    branches = [block(f"aspp.branches.{i}", deep, dilation) for i, dilation in enumerate((1, 6, 12, 18))]
    pooled = block("aspp.mean_branch", F.adaptive_avg_pool2d(deep, 1))
    branches.append(F.interpolate(pooled, deep.shape[2:], mode="bilinear", align_corners=True))
    pyramid = block("aspp.project", torch.cat(branches, 1))

    def decoder(name: str) -> Tensor:
        x = torch.cat((up(pyramid, 2), context), 1)
        x = up(block(f"{name}.conv2", block(f"{name}.conv1", x)), 2)
        x = torch.cat((x, quarter, up(pyramid, 4)), 1)
        x = up(block(f"{name}.conv4", block(f"{name}.conv3", x)), 2)
        x = torch.cat((x, half), 1)
        return block(f"{name}.conv7", block(f"{name}.conv6", block(f"{name}.conv5", x)))

    attention = norm("head.conv_att.1", conv("head.conv_att.0", decoder("amp"))).sigmoid()
    return conv("head.conv_out", attention * decoder("dmp")), attention
