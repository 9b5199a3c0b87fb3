"""SLAB: windows and shifts against attention between all tokens, and the norms that fold away."""

import copy

import pytest
import torch
from torch import nn

from toolkit.backbones.slab import PatchMerging, SLABDeiT, SLABSwin, WindowAttention
from toolkit.deploy import deploy
from toolkit.modules.norm.prepbn import PRepBN

TINY = dict(embed_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), img_size=64)
NETS = [
    pytest.param(lambda **args: SLABSwin(**TINY, **args), id="swin"),
    pytest.param(lambda **args: SLABDeiT(16, 3, 2, img_size=64, **args), id="deit"),
]


def lively(net: nn.Module) -> nn.Module:
    """In evaluation mode, with parameters and statistics away from zeros and ones."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in net.named_buffers():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif "running_mean" in name:
                value.normal_(std=0.3)
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return net.eval()


def all_tokens(attention: WindowAttention, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Attention between all tokens of one picture (N, C), those of other windows hidden."""
    side, (height, width) = attention.window, size
    shift = attention.shift if min(size) > side else 0
    place = torch.cartesian_prod(torch.arange(height), torch.arange(width))  # (N, 2)
    window = torch.div(place - shift, side, rounding_mode="floor")  # of windows that begin at the shift
    if not shift:
        window = place // side
    together = (window[:, None] == window[None]).all(-1)
    offset = (place[:, None] - place[None]).clamp(1 - side, side - 1) + side - 1
    bias = attention.relative_position_bias_table[offset[..., 0] * (2 * side - 1) + offset[..., 1]].permute(2, 0, 1)
    q, k, v = attention.qkv(x).unflatten(1, (3, attention.num_heads, -1)).permute(1, 2, 0, 3)
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).masked_fill(~together, -torch.inf)
    return attention.proj((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (9, 16), (15, 8)], ids=str)
@pytest.mark.parametrize("shift", [0, 3])
def test_windows_equal_attention_between_all_tokens_with_the_others_hidden(size: tuple[int, int], shift: int):
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, 7, shift).double()
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, size[0] * size[1], 8, dtype=torch.float64)
    expected = torch.stack([all_tokens(attention, picture, size) for picture in x])
    torch.testing.assert_close(attention(x, size), expected)


def test_padding_is_not_attended_however_low_the_scores_of_the_map():
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, 7).double()
    with torch.no_grad():
        queries, keys, _ = attention.qkv.weight.chunk(3)
        keys.copy_(-queries)  # padding, which is zero, would score higher than most of the map
    x = 50 * torch.randn(1, 5 * 6, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x, (5, 6))[0], all_tokens(attention, x[0], (5, 6)))


def test_merging_orders_the_four_tokens_column_by_column():
    merging = PatchMerging(2, {}).eval()
    merging.norm, merging.reduction = nn.Identity(), nn.Identity()
    x = torch.arange(12.0).view(1, 6, 2)  # 2 x 3 tokens, padded to 2 x 4
    expected = torch.tensor([[[0, 1, 6, 7, 2, 3, 8, 9], [4, 5, 10, 11, 0, 0, 0, 0]]], dtype=torch.float32)
    assert torch.equal(merging(x, (2, 3)), expected)


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("num_classes", [None, 5])
def test_deployed_nets_have_the_same_outputs_and_no_norms_inside(make, num_classes: int | None):
    torch.manual_seed(0)
    net, x = lively(make(num_classes=num_classes)), torch.randn(2, 3, 71, 90)
    deployed = deploy(copy.deepcopy(net))
    exact = net.double()(x.double())  # the plain net's own rounding is not the deployed one's fault
    outs, ours = (y if isinstance(y, tuple) else (y,) for y in (exact, deployed(x)))
    for one, other in zip(ours, outs, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()
    left = {name for name, module in deployed.named_modules() if isinstance(module, PRepBN)}
    assert all(name.startswith("norm") for name in left)  # of the maps
    assert bool(left) == (num_classes is None)


@pytest.mark.parametrize("make", NETS)
def test_each_norm_counts_each_forward_pass_once_also_when_recomputed(make):
    for with_cp in (False, True):
        net = make(with_cp=with_cp, norm_step=10).train()
        for _ in range(2):
            sum(y.mean() for y in net(torch.randn(2, 3, 64, 64))).backward()
        assert {int(module.iter) for module in net.modules() if isinstance(module, PRepBN)} == {8}


@pytest.mark.parametrize("make", NETS)
def test_the_classifier_averages_the_normed_last_map(make):
    torch.manual_seed(0)
    net, x = lively(make(num_classes=5)), torch.randn(1, 3, 64, 64)
    maps = make().eval()
    maps.load_state_dict(net.state_dict(), strict=False)
    last = next(module for name, module in maps.named_modules() if name in ("norm", "norm3"))
    last.load_state_dict(net.norm.state_dict())
    torch.testing.assert_close(net(x), net.head(maps(x)[-1].mean((2, 3))))


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        nets = [SLABSwin(depths=depths, num_classes=1000) for depths in ((2, 2, 6, 2), (2, 2, 18, 2))]
    assert [sum(value.numel() for value in net.parameters()) for net in nets] == [29_216_605, 50_552_965]


def test_stages_that_do_not_fit_each_other_are_refused():
    for wrong in (dict(attn_type="LLS"), dict(attn_type="LLSX"), dict(num_heads=(1, 2))):
        with pytest.raises(ValueError, match="SLABSwin: depths, num_heads and attn_type"):
            SLABSwin(**TINY | wrong)
