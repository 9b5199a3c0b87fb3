"""LSNet: published sizes, the bias of its attention, its classifier, its inference form, where its time goes."""

import copy
import time

import pytest
import torch
from torch import nn

from toolkit.backbones.lsnet import Attention, LSNet, RepDWConv
from toolkit.deploy import deploy
from toolkit.modules.conv.lsconv import LSConv
from toolkit.published import convert

SMALL = dict(embed_dim=(16, 32, 48, 64), depth=(1, 2, 2, 2))


def lively(**args) -> LSNet:
    torch.manual_seed(0)
    model = LSNet(SMALL, **args).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, Attention):
            nn.init.normal_(module.attention_biases)
    return model


@pytest.mark.parametrize(
    ("arch", "distillation", "count"),
    [("t", False, 11409832), ("s", False, 16146304), ("s", True, 16596200)],
)
def test_has_the_published_parameters(arch: str, distillation: bool, count: int):
    with torch.device("meta"):
        model = LSNet(arch, num_classes=1000, distillation=distillation)
    assert sum(value.numel() for value in model.parameters()) == count


def test_an_unknown_arch_is_refused():
    with pytest.raises(ValueError, match="LSNet: arch must be among t, s, b"):
        LSNet("xl")


def test_bias_depends_on_the_distance_alone():
    attention = Attention(32, 4, 8, grid=3)
    table = nn.init.normal_(attention.attention_biases).detach().view(4, 3, 3)
    bias = attention.bias(9)
    for one in range(9):
        for other in range(9):
            dy, dx = abs(one // 3 - other // 3), abs(one % 3 - other % 3)
            assert torch.equal(bias[:, one, other], table[:, dy, dx])


def test_a_kept_bias_follows_its_table():
    attention = Attention(32, 4, 8, grid=3).eval()
    with torch.no_grad():
        for _ in range(2):
            nn.init.normal_(attention.attention_biases)
            assert torch.equal(attention.bias(6), attention._bias(6))
            assert attention.bias(6) is attention.bias(6)
        attention.double()
        assert attention.bias(6).dtype == torch.float64
    attention.bias(6).sum().backward()
    assert attention.attention_biases.grad.abs().sum() > 0


def test_a_classifiers_checkpoint_becomes_a_detectors():
    classifier, detector = lively(num_classes=5), lively()
    for published in (False, True):
        state = {
            (key.replace("stages.3.", "blocks4.").replace("ffn.", "ffn.m.") if published else key): value
            for key, value in classifier.state_dict().items()
        }
        if published:
            state = {key.replace("3.mixer.", "3.mixer.m.").replace("proj.", "proj.1."): v for key, v in state.items()}
            state["blocks4.3.mixer.m.attention_bias_idxs"] = torch.zeros(16, 16, dtype=torch.long)
            converted = convert(state, detector)
            assert converted.recognised == "LSNet"
            assert not converted.missing + converted.mismatched
            state = converted.state_dict
        other = lively()
        other.load_state_dict(state, strict=False)
        table, small = (net.stages[3][3].mixer.attention_biases for net in (other, classifier))
        assert table.shape == (4, 196)
        torch.testing.assert_close(
            nn.functional.interpolate(small.view(1, 4, 4, 4), size=(14, 14), mode="bicubic").view(4, 196), table
        )


def test_distilled_heads_are_averaged_in_evaluation():
    model, x = lively(num_classes=5, distillation=True), torch.randn(2, 64, 2, 2)
    one, other = (head(x.mean((2, 3))) for head in (model.head, model.head_dist))
    torch.testing.assert_close(model.logits(x), (one + other) / 2)
    assert isinstance(model.train().logits(x), tuple)


def test_inference_form_is_equal():
    model, x = lively(), torch.randn(1, 3, 96, 160)
    own = copy.deepcopy(model)
    for module in own.modules():
        if isinstance(module, RepDWConv):
            module.switch_to_deploy()
            assert isinstance(module.conv, nn.Conv2d)
    with torch.no_grad():
        expected = model(x)
        for found in (own(x), deploy(model)(x)):
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_ls_convolution_takes_a_small_part_of_the_time():
    model, x, took, shares = LSNet("t").eval(), torch.randn(1, 3, 640, 640), [], []
    for module in model.modules():
        if isinstance(module, LSConv):
            module.register_forward_pre_hook(lambda *_: took.append(-time.process_time()))
            module.register_forward_hook(lambda *_: took.append(time.process_time()))
    with torch.no_grad():
        for _ in range(5):
            took.clear()
            start = time.process_time()
            model(x)
            shares.append(sum(took) / (time.process_time() - start))
    assert sorted(shares)[2] < 0.15
