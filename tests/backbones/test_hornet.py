"""HorNet: published sizes, classifier and maps, checkpoints of other picture sizes."""

import pytest
import torch
from torch import nn

from toolkit.backbones.hornet import HorNet
from toolkit.deploy import deploy
from toolkit.published import convert

SMALL = dict(base_dim=16, depths=(1, 1, 2, 1), orders=(2, 3, 4, 5), gf_stages=(2, 3))


def lively(**args) -> HorNet:
    """A small network whose layer scales let its blocks count."""
    torch.manual_seed(0)
    model = HorNet(SMALL, **args).eval()
    for name, value in model.named_parameters():
        if "gamma" in name:
            nn.init.constant_(value, 0.5)
    return model


@pytest.mark.parametrize(
    ("arch", "millions"),
    [("tiny", 22.41), ("tiny_gf", 22.99), ("small_7x7", 49.53), ("base_gf", 88.42), ("large_7x7", 194.54)],
)
def test_has_the_published_parameters(arch: str, millions: float):
    with torch.device("meta"):
        model = HorNet(arch, num_classes=1000)
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_an_unknown_arch_is_refused():
    with pytest.raises(ValueError, match="HorNet: arch must be among tiny_7x7"):
        HorNet("tiny_9x9")
    with pytest.raises(ValueError, match="spectrum_sizes must be 2 pairs"):
        HorNet("tiny_gf", spectrum_sizes=((14, 8),))


def test_maps_are_the_classifiers_normed():
    classifier, maps = lively(num_classes=5), lively()
    maps.load_state_dict(classifier.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, bare = maps(x), classifier.maps(x)
        for one, other in zip(found, bare, strict=True):
            expected = nn.functional.layer_norm(other.permute(0, 2, 3, 1), other.shape[1:2], eps=1e-6)
            torch.testing.assert_close(one, expected.permute(0, 3, 1, 2))
        pooled = nn.functional.layer_norm(bare[-1].mean((2, 3)), bare[-1].shape[1:2], eps=1e-6)
        torch.testing.assert_close(classifier(x), classifier.head(pooled))


def test_a_classifiers_checkpoint_becomes_a_detectors():
    classifier = lively(num_classes=5, spectrum_sizes=((4, 3), (2, 2)))
    detector = lively(spectrum_sizes=((8, 5), (4, 3)))
    converted = convert(classifier.state_dict(), detector)
    assert converted.recognised == "HorNet"
    assert not converted.mismatched
    assert set(converted.unexpected) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    detector.load_state_dict(converted.state_dict, strict=False)
    x = torch.randn(1, 3, 128, 128)  # maps of 8 and 4 rows, so the detector's spectra fit as they are
    with torch.no_grad():
        for one, other in zip(detector(x), classifier.maps(x), strict=True):
            expected = nn.functional.layer_norm(other.permute(0, 2, 3, 1), other.shape[1:2], eps=1e-6)
            torch.testing.assert_close(one, expected.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)


def test_inference_form_is_equal():
    model, x = lively(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(x)
        for one, other in zip(deploy(model)(x), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
