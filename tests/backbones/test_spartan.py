import pytest
import torch
import torch.nn.functional as F

from toolkit.backbones.spartan import ChannelMixer, SpaRTAN, SpatialMixer

ARCH = dict(dims=(8, 16), depths=(1, 1), expand_ratios=(4, 2))


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module.eval()


def test_channels_turn_like_complex_numbers():
    mixer = randomised(ChannelMixer(8, 2, 8))
    x = torch.randn(2, 16, 5, 3)
    pairs = torch.view_as_complex(x.permute(0, 2, 3, 1).unflatten(3, (8, 2)).contiguous())
    want = torch.view_as_real(pairs * torch.view_as_complex(mixer.complex)).flatten(3).permute(0, 3, 1, 2)
    torch.testing.assert_close(mixer.turned(x), want)


def test_the_strongest_input_channel_reinforces_all_others():
    mixer = randomised(ChannelMixer(8, 2, 8))
    seen = []
    mixer.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        mixer.complex.copy_(torch.tensor([1.0, 0.0]).expand_as(mixer.complex))  # a turn by 0
    x = torch.randn(2, 8, 4, 4)
    mixer(x)
    theta, weight = F.gelu(mixer.theta(x)), mixer.proj(x)
    for b in range(2):
        for i in range(4):
            for j in range(4):
                k = int(x[b, :, i, j].argmax())
                want = (weight * theta)[b, :, i, j] + weight[b, k, i, j] * theta[b, k, i, j]
                torch.testing.assert_close(seen[0][b, :, i, j], want)


def test_gamma_of_minus_one_leaves_only_the_mean_of_the_map():
    mixer = randomised(SpatialMixer(8, 1))
    with torch.no_grad():
        mixer.gamma.fill_(-1)
    x = torch.randn(1, 8, 7, 7)
    shuffled = x.flatten(2)[:, :, torch.randperm(49)].view_as(x)
    torch.testing.assert_close(mixer(x), mixer(shuffled))
    with torch.no_grad():
        mixer.gamma.fill_(1)
    assert not torch.allclose(mixer(x), mixer(shuffled), atol=1e-3)


def test_the_classifier_has_the_published_size_and_reads_the_last_map():
    assert sum(parameter.numel() for parameter in SpaRTAN(num_classes=1000).parameters()) == 3820296
    model = randomised(SpaRTAN(ARCH, out_indices=(1,), num_classes=5))
    x = torch.randn(2, 3, 40, 33)
    torch.testing.assert_close(model(x), model.linear(model.maps(x)[-1].mean((2, 3))))


def test_wrong_names_and_widths_are_refused():
    with pytest.raises(ValueError, match="arch must be among t or a dict, got 'x'"):
        SpaRTAN("x")
    with pytest.raises(ValueError, match="dims must be divisible by 8"):
        SpaRTAN(dict(ARCH, dims=(8, 12)))
