"""PRepBN against its formula, its counters, its inference form."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import toolkit  # noqa: F401
from toolkit.deploy import deploy
from toolkit.modules.norm.prepbn import PRepBN, merge_after, merge_before, recomputation

C = 12


def lively(**args) -> PRepBN:
    """A norm whose weights and statistics are away from zeros and ones."""
    torch.manual_seed(0)
    norm = PRepBN(C, **args)
    with torch.no_grad():
        for value in norm.parameters():
            value.add_(0.3 * torch.randn_like(value))
        norm.norm2.bn.running_mean.normal_()
        norm.norm2.bn.running_var.uniform_(0.5, 2)
    return norm


def formula(norm: PRepBN, x: torch.Tensor, share: float) -> torch.Tensor:
    """share * LN + (1 - share) * (BN of the batch + alpha x) of tokens (N, C), written out."""
    bn, ln = norm.norm2.bn, norm.norm1
    by_token = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    by_channel = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    rep = by_channel * bn.weight + bn.bias + norm.norm2.alpha * x
    return share * (by_token * ln.weight + ln.bias) + (1 - share) * rep


def as_map(tokens: torch.Tensor) -> torch.Tensor:  # (B, 20, C) -> (B, C, 4, 5)
    return tokens.transpose(1, 2).unflatten(2, (4, 5))


def test_the_share_of_layer_norm_falls_step_by_step():
    norm = lively(step=4).train()
    for left in (4, 3, 2, 1, 0, 0):
        x = torch.randn(3, 20, C)
        expected = formula(norm, x.flatten(0, 1), left / 4)
        torch.testing.assert_close(norm(x).flatten(0, 1), expected, atol=1e-5, rtol=1e-5)
    assert norm.iter == 0


def test_r0_scales_the_share():
    norm, x = lively(step=4, r0=0.5).train(), torch.randn(7, C)
    torch.testing.assert_close(norm(x), formula(norm, x, 0.5), atol=1e-5, rtol=1e-5)


def test_warm_up_is_layer_norm_alone():
    norm, x = lively(step=4, warm=2).train(), torch.randn(3, 20, C)
    before = norm.norm2.bn.running_mean.clone()
    for left in (1, 0):
        assert torch.equal(norm(x), norm.norm1(x))
        assert norm.warm == left
        assert norm.iter == 4
    assert torch.equal(norm.norm2.bn.running_mean, before)
    assert not torch.equal(norm(x), norm.norm1(x * 1.5))
    assert norm.iter == 3


@pytest.mark.parametrize("training", [True, False])
def test_maps_are_normed_as_their_tokens(training: bool):
    tokens = torch.randn(3, 20, C)
    by_token, by_map = lively(step=4).train(training), lively(step=4).train(training)
    for _ in range(2):
        torch.testing.assert_close(by_map(as_map(tokens)), as_map(by_token(tokens)))
    torch.testing.assert_close(by_map.norm2.bn.running_var, by_token.norm2.bn.running_var)


def test_evaluation_has_no_layer_norm_whatever_the_counter():
    norm, x = lively(step=4).eval(), torch.randn(3, 20, C)
    bn = norm.norm2.bn
    expected = F.batch_norm(x.flatten(0, 1), bn.running_mean, bn.running_var, bn.weight, bn.bias).view_as(x)
    torch.testing.assert_close(norm(x), expected + norm.norm2.alpha * x)
    assert norm.iter == 4


def test_training_resumes_where_it_stopped():
    norm, x = lively(step=4).train(), torch.randn(3, 20, C)
    norm(x)
    resumed = lively(step=4).train()
    resumed.load_state_dict(norm.state_dict())
    assert resumed.iter == 3
    assert torch.equal(resumed(x), norm(x))


def test_restarted_begins_with_the_layer_norm_again():
    norm, x = lively(step=4).train(), torch.randn(60, C)
    norm(x)
    norm.restart(2)
    assert torch.equal(norm(x), norm.norm1(x))
    torch.testing.assert_close(norm(x), formula(norm, x, 0.5))
    assert norm.iter == 0


def test_repeated_forward_passes_are_the_first_ones_again():
    def gradients(repeats: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(C, C), lively(step=3), nn.Linear(C, C), lively(step=3)).train()
        for _ in range(2):
            x = torch.randn(6, C)
            contexts = lambda: recomputation(net)  # noqa: E731
            y = checkpoint(net, x, use_reentrant=False, context_fn=contexts) if repeats else net(x)
            y.square().sum().backward()
        assert [int(net[i].iter) for i in (1, 3)] == [1, 1]
        return [value.grad for value in net.parameters()]

    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(3, 20, C), (3, C, 4, 5), (6, C)], ids=str)
def test_deployed_is_one_affine_with_the_same_outputs(shape: tuple[int, ...]):
    norm, x = lively().eval(), torch.randn(*shape)
    expected = norm(x)
    norm.switch_to_deploy()
    norm.switch_to_deploy()
    assert sorted(norm.state_dict()) == ["bias", "weight"]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("layer", [nn.Linear(C, 5), nn.Linear(C, 5, bias=False)], ids=["bias", "no bias"])
@pytest.mark.parametrize("deployed", [False, True])
def test_a_linear_layer_takes_in_the_norm_before_it(layer: nn.Linear, deployed: bool):
    layer, norm, x = copy.deepcopy(layer), lively().eval(), torch.randn(3, 20, C)
    expected = layer(norm(x))
    if deployed:
        norm.switch_to_deploy()
    merge_before(norm, layer)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_convolutions_take_in_norms_on_either_side():
    torch.manual_seed(2)
    norm, x = lively().eval(), torch.randn(2, C, 6, 7)
    after, before = nn.Conv2d(C, 4, 3, 2), nn.Conv2d(4, C, 3, padding=1, bias=False)
    expected = after(norm(x))
    merge_before(norm, after)
    torch.testing.assert_close(after(x), expected, atol=1e-5, rtol=1e-5)
    x = torch.randn(2, 4, 6, 7)
    expected = norm(before(x))
    merge_after(before, norm)
    torch.testing.assert_close(before(x), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="padding 0"):
        merge_before(norm, nn.Conv2d(C, 4, 3, padding=1))


@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
def test_works_as_norm_cfg(scope: str):
    with DefaultScope.overwrite_default_scope(scope):
        module = ConvModule(3, C, 3, norm_cfg=dict(type="PRepBN", step=10))
    assert isinstance(module.prepbn, PRepBN)
    x = torch.randn(2, 3, 8, 8)
    module(x)
    assert module.prepbn.iter == 9
    expected = module.eval()(x)
    torch.testing.assert_close(deploy(module)(x), expected, atol=1e-5, rtol=1e-5)


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="PRepBN: step"):
        PRepBN(C, step=0)
    with pytest.raises(ValueError, match=r"PRepBN: takes .*got \(2, 5, 7, 12\)"):
        PRepBN(C)(torch.randn(2, 5, 7, C))
