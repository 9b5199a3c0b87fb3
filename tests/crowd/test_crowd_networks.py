import time
from dataclasses import replace

import pytest
import torch
from mmengine.registry import MODELS
from plain_m_sfanet import plain_m_sfanet

from toolkit.crowd.tiles import tiles_of
from toolkit.deploy import deploy

KINDS = ("MSFANet", "MSegNet", "MSFANetQNRF", "MSegNetQNRF")


def lively(kind: str, widen_factor: float = 0.0625) -> torch.nn.Module:
    """A narrow network in evaluation mode with statistics away from zeros and ones."""
    torch.manual_seed(0)
    network = MODELS.build(dict(type=kind, widen_factor=widen_factor)).eval()
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if value.is_floating_point():
                value.add_(0.2 * torch.rand_like(value) if "var" in name else 0.1 * torch.randn_like(value))
    return network


def density_of(outputs) -> torch.Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def test_is_equal_to_the_plain_graph():
    network, x = lively("MSFANet"), torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        for ours, plain in zip(network(x), plain_m_sfanet(network.state_dict(), x), strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-5 * float(plain.abs().max()), rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_deployed_is_equal(kind: str):
    network, x = lively(kind), torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        expected = density_of(network(x))
        torch.testing.assert_close(
            density_of(deploy(network)(x)), expected, atol=1e-4 * float(expected.abs().max()), rtol=0
        )


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_the_whole_picture(kind: str):
    network, size = lively(kind), (320, 1216)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        whole = density_of(network(x))
        pieces = [
            (x[..., slice(*tile.rows), slice(*tile.columns)], tile) for tile in tiles_of(size, 256, network.margin)
        ]
        assert any(piece.shape[3] < size[1] for piece, _ in pieces)
        means = network.gather(pieces) if hasattr(network, "gather") else ()
        for piece, tile in pieces:
            part = tile.core(density_of(network(piece, replace(tile, means=means))), 2)
            rows, columns = (slice(*(edge // 2 for edge in span)) for span in (tile.core_rows, tile.core_columns))
            torch.testing.assert_close(part, whole[..., rows, columns], atol=1e-4 * float(whole.abs().max()), rtol=0)


def test_unpooling_takes_any_size():
    with torch.no_grad():
        assert density_of(lively("MSegNet")(torch.randn(1, 3, 107, 125))).shape == (1, 1, 53, 62)
        assert density_of(lively("MSFANet")(torch.randn(1, 3, 107, 125))).shape == (1, 1, 53, 62)


@pytest.mark.parametrize("kind", KINDS)
def test_too_small_a_picture_is_refused(kind: str):
    with pytest.raises(ValueError, match=kind):
        lively(kind)(torch.randn(1, 3, 15, 64))


@pytest.mark.parametrize("kind", KINDS)
def test_variants_for_qnrf_are_never_negative(kind: str):
    network = lively(kind)
    (network.head.conv_out if hasattr(network, "head") else network.conv_out).bias.data.fill_(-0.5)
    with torch.no_grad():
        lowest = float(density_of(network(torch.randn(1, 3, 64, 64))).min())
    assert (lowest >= 0) == kind.endswith("QNRF")


def test_density_scale_divides_the_output():
    counter = MODELS.build(
        dict(type="CrowdCounter", network=dict(type="MSegNet", widen_factor=0.0625), density_scale=20.0)
    ).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(20 * counter(x), counter.network(x)[0])


def test_torchvision_weights_load_into_vgg():
    torch.manual_seed(0)
    vgg = MODELS.build(dict(type="VGG16BN", out_indices=(1, 2, 3), widen_factor=0.125))
    layers: list[torch.nn.Module] = []
    channels = 3
    for depth, width in ((2, 8), (2, 16), (3, 32), (3, 64), (3, 64)):
        for _ in range(depth):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    features = torch.nn.Sequential(*layers).eval()
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    vgg.eval().load_state_dict(state | {"classifier.0.weight": torch.zeros(1)})
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(vgg(x)[-1], features[:33](x))


@pytest.mark.slow
def test_deployed_is_faster_than_the_plain_graph():
    torch.manual_seed(0)
    network = MODELS.build(dict(type="MSFANet")).eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    x, times = torch.randn(1, 3, 384, 512), {}
    deployed = deploy(network)
    with torch.inference_mode():
        for _ in range(3):
            for name, run in (("plain", lambda: plain_m_sfanet(state, x)), ("deployed", lambda: deployed(x))):
                began = time.process_time()
                run()
                times.setdefault(name, []).append(time.process_time() - began)
    assert min(times["plain"]) > 1.2 * min(times["deployed"])
