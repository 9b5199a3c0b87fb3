"""SMT: the modulation against its formula, sizes as published, the inference form."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from toolkit.backbones.smt import SMT, Attention, Modulation
from toolkit.deploy import deploy

SMALL = dict(
    embed_dims=(8, 16, 16, 32), depths=(1, 1, 3, 1), mlp_ratios=(4, 4, 4, 2), head_conv=3,
    ca_num_heads=(2, 4, 4, -1), sa_num_heads=(-1, -1, 2, 4),
)  # fmt: skip


def lively(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in [*net.named_buffers(), *net.named_parameters()]:
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return net.eval()


def test_modulation_equals_its_formula():
    module, x = lively(Modulation(12, 3, expand_ratio=2)), torch.randn(2, 12, 9, 10)
    s = F.conv2d(x, module.s.weight[..., None, None], module.s.bias)
    scales = torch.empty_like(s)
    for head in range(3):
        conv = getattr(module, f"local_conv_{head + 1}")
        assert conv.kernel_size == (3 + 2 * head,) * 2
        for channel in range(4):  # each head's channel beside that channel of the other heads
            row = s[:, 4 * head + channel, None]
            kernel = conv.weight[channel, None], conv.bias[channel, None]
            scales[:, 3 * channel + head] = F.conv2d(row, *kernel, padding=1 + head)[:, 0]
    modulator = module.proj1(F.gelu(module.bn(module.proj0(scales))))
    v = F.conv2d(x, module.v.weight[..., None, None], module.v.bias)
    expected = F.conv2d(modulator * v, module.proj.weight[..., None, None], module.proj.bias)
    torch.testing.assert_close(module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected)


def test_attention_equals_its_formula():
    module, x = lively(Attention(12, 3)), torch.randn(2, 4, 5, 12)
    tokens = x.flatten(1, 2)
    q, (k, v) = module.q(tokens), module.kv(tokens).chunk(2, -1)
    heads = []
    for head in range(3):
        mine = slice(4 * head, 4 * head + 4)
        scores = torch.einsum("bic,bjc->bij", q[..., mine], k[..., mine]) / 2
        heads.append(scores.softmax(-1) @ v[..., mine])
    local = module.local_conv(v.transpose(1, 2).unflatten(2, (4, 5))).flatten(2).transpose(1, 2)
    torch.testing.assert_close(module(x).flatten(1, 2), module.proj(torch.cat(heads, -1) + local))


def test_the_third_stage_alternates_and_the_fourth_attends():
    net = SMT(SMALL)
    assert [type(block.attn) for block in net.block3] == [Modulation, Attention, Modulation]
    assert [type(block.attn) for block in net.block4] == [Attention]


@pytest.mark.parametrize(("arch", "count"), [("tiny", 11_506_536), ("base", 32_037_352)])
def test_sizes_are_the_published_ones(arch: str, count: int):
    with torch.device("meta"):
        net = SMT(arch, num_classes=1000)
    assert sum(value.numel() for value in net.parameters()) == count


def test_the_classifier_averages_the_last_map():
    net, x = lively(SMT(SMALL, num_classes=5)), torch.randn(2, 3, 64, 80)
    maps = SMT(SMALL).eval()
    maps.load_state_dict({key: value for key, value in net.state_dict().items() if key in maps.state_dict()})
    torch.testing.assert_close(net(x), net.head(maps(x)[-1].mean((2, 3))))


def test_deployed_has_the_same_outputs_and_no_batch_norm():
    net, x = lively(SMT(SMALL)), torch.randn(1, 3, 70, 64)
    deployed = deploy(copy.deepcopy(net))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    for one, other in zip(deployed(x), net(x), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="SMT: arch must be among tiny, base or a dict"):
        SMT("huge")
    with pytest.raises(ValueError, match="SMT: heads"):
        SMT(SMALL | dict(ca_num_heads=(3, 4, 4, -1)))
