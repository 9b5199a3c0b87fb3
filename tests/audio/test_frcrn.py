"""FRCRN against complex arithmetic, its published names, and what a denoiser must keep to."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.audio.frcrn import FRCRN, Complex, ComplexSE, ComplexUNet, loud_level
from toolkit.commands.parity import main as parity
from toolkit.inference import load_model
from toolkit.published import convert

ROOT = Path(__file__).resolve().parents[2]
SMALL = dict(window_size=64, hop_size=32, channels=8, kernels=(5, 5, 5), order=4, reduction=2, sample_rate=8000)


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter and running statistic different from its initial value; evaluation mode; float64."""
    torch.manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.rsplit(".", 1)[-1] not in ("window", "present", "num_batches_tracked"):
            tensor.data = torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.3
    return module.eval().double()


def small() -> FRCRN:
    return randomised(FRCRN(**SMALL))


def weight(layer: Complex) -> Tensor:
    return torch.complex(layer.real.weight, layer.imag.weight)


def bias(layer: Complex) -> Tensor:
    """Both biases go with each of the two real products: (a + ib)(1 + i)."""
    return torch.complex(layer.real.bias, layer.imag.bias) * (1 + 1j)


def by_parts(x: Tensor, real, imag) -> Tensor:
    return torch.complex(real(x.real), imag(x.imag))


def layer_by_formula(layer: nn.Module, x: Tensor) -> Tensor:
    """Complex convolution with torch's complex numbers, norm and leaky ReLU written out."""
    conv = F.conv_transpose2d if isinstance(layer.conv.real, nn.ConvTranspose2d) else F.conv2d
    y = conv(x, weight(layer.conv), bias(layer.conv), stride=(2, 1), padding=(0, 1))

    def norm_and_slope(norm: nn.BatchNorm2d):
        mean, var, scale, shift = (
            value.view(1, -1, 1, 1) for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )

        def apply(part: Tensor) -> Tensor:
            part = (part - mean) / (var + 1e-5).sqrt() * scale + shift
            return torch.where(part > 0, part, 0.01 * part)

        return apply

    return by_parts(y, norm_and_slope(layer.norm.real), norm_and_slope(layer.norm.imag))


def fsmn_by_formula(fsmn: nn.Module, x: Tensor) -> Tensor:
    """(B, C, L, W), position by position."""
    hidden = torch.einsum("oc,bclw->bolw", fsmn.linear.weight, x) + fsmn.linear.bias.view(1, -1, 1, 1)
    p = torch.einsum("oc,bclw->bolw", fsmn.project.weight, hidden.clamp(min=0))
    order, y = fsmn.memory.weight.shape[2], x + p
    for position in range(x.shape[2]):
        for back in range(min(order, position + 1)):
            y[:, :, position] += fsmn.memory.weight[:, 0, order - 1 - back] * p[:, :, position - back]
    return y


def complex_fsmn_by_formula(layer: Complex, x: Tensor) -> Tensor:
    a, b = (lambda part, half=half: fsmn_by_formula(half, part) for half in (layer.real, layer.imag))
    return torch.complex(a(x.real) - b(x.imag), a(x.imag) + b(x.real))


def squeeze_excite_by_formula(se: ComplexSE, x: Tensor) -> Tensor:
    mean = x.mean((2, 3))
    a, b = se.gates.real, se.gates.imag
    real, imag = a(mean.real) - b(mean.imag), a(mean.imag) + b(mean.real)
    return torch.complex(x.real * real[..., None, None], x.imag * imag[..., None, None])


def unet_by_formula(unet: ComplexUNet, x: Tensor) -> Tensor:
    """Three encoders and decoders, one after the other: (B, 1, F, N) complex."""
    e0 = layer_by_formula(unet.encoders[0], x)
    e1 = layer_by_formula(unet.encoders[1], complex_fsmn_by_formula(unet.fsmn_enc[1], e0))
    e2 = layer_by_formula(unet.encoders[2], complex_fsmn_by_formula(unet.fsmn_enc[2], e1))
    assert e2.shape[2] == 1
    z = e2.transpose(2, 3)  # along time
    z = complex_fsmn_by_formula(unet.fsmn[1], complex_fsmn_by_formula(unet.fsmn[0], z)).transpose(2, 3)
    d0 = complex_fsmn_by_formula(unet.fsmn_dec[0], layer_by_formula(unet.decoders[0], z))
    d0 = torch.cat((squeeze_excite_by_formula(unet.se_dec[0], d0), squeeze_excite_by_formula(unet.se_enc[1], e1)), 1)
    d1 = complex_fsmn_by_formula(unet.fsmn_dec[1], layer_by_formula(unet.decoders[1], d0))
    d1 = torch.cat((d1, squeeze_excite_by_formula(unet.se_enc[0], e0)), 1)
    d2 = layer_by_formula(unet.decoders[2], d1)
    return F.conv2d(d2, weight(unet.linear), bias(unet.linear))


def test_the_u_net_is_its_formula_in_complex_numbers() -> None:
    unet = small().unet
    x = torch.randn(2, 1, 33, 7, dtype=torch.complex128)
    want = unet_by_formula(unet, x)
    assert want.shape == (2, 1, 33, 7)
    assert (torch.complex(*unet((x.real, x.imag))) - want).abs().max() < 1e-9 * want.abs().max()


def test_the_mask_is_the_sum_of_both_u_nets_and_the_second_reads_the_first_unbounded() -> None:
    network = small()
    spectra = torch.randn(1, 33, 6, dtype=torch.complex128)
    first = unet_by_formula(network.unet, spectra[:, None])
    second = unet_by_formula(network.unet2, first)
    want = torch.complex(first.real.tanh() + second.real.tanh(), first.imag.tanh() + second.imag.tanh())[:, 0]
    assert (network.mask(spectra) - want).abs().max() < 1e-9


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000])
def test_a_mask_of_one_gives_the_signal_back(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    monkeypatch.setattr(network, "mask", torch.ones_like)
    x = torch.randn(2, length, dtype=torch.float64)
    y = network(x)
    assert y.shape == (2, 1, length)
    assert (y[:, 0] - x).abs().max() < 1e-6


def test_spectra_of_whole_frames_give_back_all_but_the_two_ends() -> None:
    network = small()
    x = torch.randn(2, 1000, dtype=torch.float64)
    spectra = network.analyse(x)
    assert spectra.shape == (2, 33, 30)
    assert torch.allclose(
        spectra[1, :, 3], torch.fft.rfft(x[1, 96:160] * torch.hann_window(64).double().sqrt()), atol=1e-5
    )
    y = network.synthesise(spectra)
    assert y.shape == (2, 29 * 32 + 64)
    assert (y - x[:, : y.shape[1]])[:, 32:-32].abs().max() < 1e-6


def test_level_of_the_input_is_the_level_of_the_output() -> None:
    network = small()
    x = torch.randn(2, 300, dtype=torch.float64) * torch.tensor([[0.1], [0.001]])
    with torch.no_grad():
        y = network(x)
    tolerance = 1e-9 * float(y.abs().max())
    assert torch.allclose(network(8 * x), 8 * y, atol=tolerance)
    assert torch.allclose(network(x[1:]), y[1:], atol=tolerance)  # no item heeds its neighbours
    assert torch.equal(network(torch.zeros(1, 200, dtype=torch.float64)), torch.zeros(1, 1, 200, dtype=torch.float64))
    level = loud_level(torch.tensor([[0.0, 0.0, 3.0, -1.0, 4.0, 0.0]]))
    assert level.item() == pytest.approx(np.sqrt((9 + 16) / 2))  # mean power 26 / 6


def test_every_weight_that_is_used_learns_and_the_unused_ones_are_frozen() -> None:
    network = FRCRN(**SMALL).train()
    network(torch.randn(2, 400)).square().sum().backward()
    frozen = {name.split(".weight")[0] for name, weight in network.named_parameters() if not weight.requires_grad}
    places = {".".join(name.split(".")[:3]) for name in frozen}
    assert {re.sub(r"^unet2?\.", "", place) for place in places} == {"fsmn_enc.0", "fsmn_dec.2", "se_enc.2", "se_dec.1"}
    for name, value in network.named_parameters():
        assert (value.grad is not None) == value.requires_grad, name


def test_encoders_must_end_at_one_bin() -> None:
    with pytest.raises(ValueError, match=r"kernels \(5, 5\) must bring 33 bins to 1, they give \[15, 6\]"):
        FRCRN(**SMALL | dict(kernels=(5, 5)))
    with pytest.raises(ValueError, match="times hop_size, got 64, 30"):
        FRCRN(**SMALL | dict(hop_size=30))


def published_name(key: str) -> str:
    """Our name -> the published one, by rules of its own."""
    part = re.search(r"\.(real|imag)\.", key)[1]
    re_im, r_i = {"real": ("re", "r"), "imag": ("im", "i")}[part]
    head, tail = key.split(f".{part}.")
    unet, kind, *rest = head.split(".")
    tail = tail.replace("memory", "conv1")
    if kind == "fsmn":
        return f"{unet}.fsmn.fsmn_{re_im}_L{int(rest[0]) + 1}.{tail}"
    if kind.startswith("fsmn"):
        return f"{unet}.{kind}.{rest[0]}.fsmn_{re_im}_L1.{tail}"
    if kind.startswith("se_"):
        return f"{unet}.se_layers_{kind[3:]}.{rest[0]}.fc_{r_i}.{tail}"
    if kind == "linear":
        return f"{unet}.linear.conv_{re_im}.{tail}"
    conv = dict(encoders=("conv", "conv"), decoders=("transconv", "tconv"))[kind]
    norm = ("bn", "bn")
    folder, name = norm if rest[1] == "norm" else conv
    return f"{unet}.{kind}.{rest[0]}.{folder}.{name}_{re_im}.{tail}"


def published(network: FRCRN) -> dict[str, Tensor]:
    """A checkpoint as published: constants, and other values under the second names, before and after the lists."""
    lists = {published_name(key): value for key, value in network.state_dict().items()}
    seconds = {}
    for key, value in lists.items():
        found = re.match(r"(unet2?)\.(encoders|decoders|se_layers_enc|se_layers_dec|fsmn_enc|fsmn_dec)\.(\d+)\.", key)
        if found:
            one = found[2].removesuffix("s").replace("layers", "layer")
            seconds[f"{found[1]}.{one}{found[3]}.{key[found.end() :]}"] = value + 1
    assert len(seconds) > len(lists) / 2
    before = dict(list(seconds.items())[::2])
    return before | {"stft.weight": torch.zeros(66, 1, 64), "istft.window": torch.zeros(1, 64, 1)} | lists | seconds


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("top", [None, "model"])
def test_published_names_fit_and_the_lists_win(prefix: str, top: str | None) -> None:
    network = small().float()
    weights = {prefix + key: value for key, value in published(network).items()}
    converted = convert({top: weights, "epoch": 3} if top else weights, FRCRN(**SMALL))
    assert converted.recognised == "FRCRN"
    assert converted.complete, converted.problems()
    assert all(torch.equal(value, converted.state_dict[key]) for key, value in network.state_dict().items())


def test_load_model_takes_a_published_checkpoint(tmp_path: Path) -> None:
    network = small().float()
    torch.save({"model": {f"module.{key}": value for key, value in published(network).items()}}, tmp_path / "best.pt")
    model = dict(type="AudioModel", network=dict(type="FRCRN", **SMALL))
    (tmp_path / "small.py").write_text(f"custom_imports = dict(imports=['toolkit'])\nmodel = {model!r}\n")
    processor = load_model(tmp_path / "small.py", tmp_path / "best.pt", device="cpu")
    mixture = 1e-4 * np.random.default_rng(0).standard_normal(800, dtype=np.float32)  # random weights are loud
    with torch.inference_mode():
        want = network(torch.from_numpy(np.pad(mixture, (0, 7200)))[None])[0, 0, :800].numpy()  # one window
    got = processor.predict(mixture)["speech"]
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max() < 1e-4


def test_the_shipped_config_is_the_published_network() -> None:
    config = Config.fromfile(ROOT / "configs" / "audio" / "frcrn_se_16k.py")
    with torch.device("meta"):
        network = MODELS.build(config.model["network"])
    assert sum(value.numel() for value in network.parameters()) == 13_141_844
    assert network.sample_rate == 16000
    decoders = [layer.conv.real.kernel_size[0] for layer in network.unet.decoders]
    assert decoders == [2, 5, 5, 5, 6, 5, 5]
    assert network.windows.one_pass == 20


@pytest.mark.shared
def test_the_published_u_nets_and_spectra(shared: Path) -> None:
    assert parity([str(shared / "parity" / "cases" / "frcrn_se_16k.json")]) == 0
