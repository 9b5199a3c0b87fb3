import copy
import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from toolkit.audio import mossformer2 as moss
from toolkit.audio.kaldi import deltas, log_mel_filterbank
from toolkit.audio.published_windows import at_mixture_level, in_windows, padded_length
from toolkit.audio.windows import Windows
from toolkit.deploy import deploy
from toolkit.modules.packed_weight import PackedLinear
from toolkit.published import convert
from toolkit.published.mossformer2 import rename

ATTENTION, MEMORY = dict(query_key_dim=40, group_size=16), dict(inner_dim=8, order=3)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def separator(**arguments) -> moss.MossFormer2SS:
    arguments = dict(num_blocks=2, dim=16, attention=ATTENTION, memory=MEMORY, sample_rate=8000) | arguments
    return MODELS.build(dict(type="MossFormer2SS", **arguments)).eval()


def naive_attention(quad_q, lin_q, quad_k, lin_k, values, size):
    """Frame by frame in double precision."""
    out = torch.zeros_like(values)
    frames = values.shape[0]
    for n in range(frames):
        for m in range(frames):
            share = (lin_q[n] @ lin_k[m]) / frames
            if n // size == m // size:
                share = share + max(quad_q[n] @ quad_k[m] / size, 0) ** 2
            out[n] += share * values[m]
    return out


@pytest.mark.parametrize("frames", [5, 14, 21])
@pytest.mark.parametrize("grad", [True, False])
def test_joint_attention_is_the_formula_also_in_a_short_last_group(frames, grad):
    heads = [torch.randn(1, frames, 6, dtype=torch.float64) * 3 for _ in range(4)]
    values = torch.randn(1, frames, 5, dtype=torch.float64)
    with torch.set_grad_enabled(grad):
        got = torch.cat(list(moss.joint_attention(*heads, values.split(8, 1), 8)), 1)
    torch.testing.assert_close(got[0], naive_attention(*(head[0] for head in heads), values[0], 8))


def test_rotary_products_depend_on_the_distance_alone():
    turn = moss.rotation(50, 8)
    q, k = (moss.rotate(torch.randn(12).double().expand(50, 12), turn) for _ in range(2))
    products = q @ k.t()
    torch.testing.assert_close(products[10, 4], products[40, 34], rtol=1e-4, atol=1e-5)
    assert (products[10, 4] - products[10, 9]).abs() > 1e-3
    torch.testing.assert_close(q[:, 8:], q[:1, 8:].expand(50, 4))


def test_rotary_turns_neighbouring_channels():
    turned = moss.rotate(torch.tensor([[1.0, 0, 1, 0]]).expand(3, 4), moss.rotation(3, 4))
    as_complex = torch.view_as_complex(turned.unflatten(-1, (2, 2)).contiguous())
    rates = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(as_complex, torch.polar(torch.ones(3, 2), torch.arange(3.0)[:, None] * rates))


def test_first_half_of_the_channels_comes_one_frame_late():
    block = moss.GatedAttention(8, **ATTENTION).eval()
    seen = []
    block.to_qk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 20, 8)
    block(x)
    assert torch.equal(seen[0][:, 1:, :4], x[:, :-1, :4])
    assert not seen[0][:, 0, :4].any()
    assert torch.equal(seen[0][..., 4:], x[..., 4:])


def test_attention_block_is_the_same_in_pieces_and_whole():
    block = moss.GatedAttention(8, **ATTENTION).eval()
    x = torch.randn(2, 300, 8)
    with torch.no_grad():
        in_pieces = block(x)
    torch.testing.assert_close(in_pieces, block(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dilation", "frames"), [(1, 30), (2, 31), (4, 3)])
def test_depthwise_is_a_grouped_convolution(dilation, frames):
    x, weight = torch.randn(2, frames, 6), torch.randn(6, 5)
    want = F.conv1d(x.transpose(1, 2), weight[:, None], padding=2 * dilation, dilation=dilation, groups=6)
    torch.testing.assert_close(moss.depthwise(x, weight, dilation), want.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2])
def test_gradients_of_depthwise(dilation):
    x = torch.randn(2, 9, 3, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: moss.depthwise(x, weight, dilation), (x, weight))


@pytest.mark.slow
def test_gradients_of_depthwise_are_faster_than_torch_makes_them():
    x, weight = torch.randn(1, 4000, 1024, requires_grad=True), torch.randn(1024, moss.TAPS, requires_grad=True)

    def seconds(convolve: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        began = time.perf_counter()
        convolve(x, weight).sum().backward()
        return time.perf_counter() - began

    ours, theirs = [], []
    for _ in range(5):  # in turn, so that both see the same machine
        theirs.append(seconds(moss.convolve))
        ours.append(seconds(moss.TrainableConvolve.apply))
    ratio = median(ours) / median(theirs)
    print(f"depthwise convolution and its gradients: {ratio:.2f} of torch's time")
    assert ratio < 0.5


def test_depthwise_trains_in_bfloat16():
    x = torch.randn(2, 40, 8)
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.ones(8, 5, requires_grad=True)
        moss.depthwise(x.to(dtype), weight).square().mean().backward()
        grads.append(weight.grad)
    assert grads[1].dtype == torch.float32
    torch.testing.assert_close(*grads, rtol=0.05, atol=0.02)


def test_memory_reads_neighbouring_channels_of_the_maps():
    conv = moss.MemoryConv(4, 5, several=2)
    x = torch.randn(1, 20, 8)
    want = F.conv2d(x.transpose(1, 2)[..., None], conv.weight, padding=(2, 0), groups=4)[..., 0].transpose(1, 2)
    torch.testing.assert_close(conv(x), want, rtol=1e-5, atol=1e-5)
    x[..., 2:4] += 1.0  # the second output's channels
    changed = (conv(x) - want).abs().amax((0, 1)) > 1e-3
    assert changed.tolist() == [False, True, False, False]


def test_norms_are_those_of_torch():
    x = torch.randn(2, 30, 6) * 3 + 1
    for ours, theirs in (
        (moss.TimeNorm(6), torch.nn.InstanceNorm1d(6, affine=True)),
        (moss.OneGroupNorm(6), torch.nn.GroupNorm(1, 6, eps=1e-8)),
    ):
        values = {"weight": torch.randn(6), "bias": torch.randn(6)}
        ours.load_state_dict(values)
        theirs.load_state_dict(values)
        torch.testing.assert_close(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 16, 17, 801])
@pytest.mark.parametrize("speakers", [2, 3])
def test_separation_keeps_the_length_and_the_batch_items_apart(length, speakers):
    network = separator(num_speakers=speakers)
    mixture = torch.randn(2, length) * 0.1
    with torch.no_grad():
        together = network(mixture)
        alone = network(mixture[1:])
    assert together.shape == (2, speakers, length)
    assert together.isfinite().all()
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-5)


def test_separation_scales_with_the_mixture():
    network, mixture = separator(), torch.randn(1, 400)
    torch.testing.assert_close(network(mixture * 0.01), network(mixture) * 0.01, rtol=1e-3, atol=1e-6)


def test_encoder_and_decoder_are_convolutions():
    network, mixture = separator(), torch.randn(1, 100)
    network.mask_net.forward = lambda coded: iter([torch.ones_like(coded)])
    want = network.decoder(network.encoder(mixture[:, None]).relu())
    want = F.pad(want, (0, 100 - want.shape[-1]))
    torch.testing.assert_close(network(mixture), want, rtol=1e-5, atol=1e-5)


def test_without_the_product_the_masks_are_decoded_themselves():
    network, mixture = separator(multiply=False), torch.randn(1, 96)
    network.mask_net.forward = lambda coded: iter([torch.ones_like(coded)])
    assert torch.equal(network(mixture), network(2 * mixture))


def test_every_weight_learns():
    network = separator().train()
    estimates = network(torch.randn(1, 800))
    (estimates * torch.randn_like(estimates)).sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not idle


def test_wrapped_published_names_are_ours():
    own = separator().state_dict()
    published = "mask_net.mdl.intra_mdl.mossformerM.fsmn.1.gated_fsmn.fsmn.conv.conv2.weight"
    ours = "mask_net.blocks.1.recurrence.fsmn.memory.convs.1.weight"
    standalone = "masknet.dual_mdl.0.intra_mdl.mdl.flashT.fsmn.1.gated_fsmn.fsmn.conv.conv2.weight"
    assert {rename(published), rename(f"module.{published}"), rename(standalone)} == {ours}
    marks = {f"module.{published}": own[ours] + 1, "module.mask_net.pos_enc.scale": own["mask_net.position_scale"]}
    converted = convert({"model": marks}, separator())
    assert torch.equal(converted.state_dict[ours], own[ours] + 1)
    assert not converted.unexpected


def enhancer() -> moss.MossFormer2SE:
    config = dict(num_blocks=1, dim=16, attention=ATTENTION, memory=MEMORY, num_mels=8, window_size=480, hop_size=96)
    return MODELS.build(dict(type="MossFormer2SE", **config)).eval()


@pytest.mark.parametrize("length", [1, 480, 2001])
def test_enhancement_with_a_mask_of_ones_changes_nothing(length):
    network, signal = enhancer(), torch.randn(2, length) * 0.1
    network.mask = lambda features: features.new_ones(*features.shape[:2], 241)
    torch.testing.assert_close(network(signal)[:, 0], signal, rtol=1e-4, atol=1e-5)


def test_enhancement_repeats_unless_dithered():
    network, signal = enhancer(), torch.randn(1, 3000) * 1e-4
    with torch.no_grad():
        first = network(signal)
        assert torch.equal(first, network(signal))
        network.dither = 1.0
        assert not torch.equal(first, network(signal))


def test_mel_bands_follow_a_tone_upward_and_ignore_an_offset():
    time, window = torch.arange(4800) / 48000, torch.hamming_window(1920, periodic=False)
    tones = torch.stack([torch.sin(6.2832 * hz * time) * 1000 for hz in (300, 1000, 4000, 12000)])
    bands = log_mel_filterbank(tones, 48000, 60, window, 384)
    peaks = bands.mean(1).argmax(-1).tolist()
    assert peaks == sorted(set(peaks))
    torch.testing.assert_close(log_mel_filterbank(tones + 500, 48000, 60, window, 384), bands, rtol=1e-2, atol=0.1)


def test_deltas_are_slopes():
    line = torch.arange(10.0)[None, :, None] * torch.tensor([2.0, -3.0])
    slopes = deltas(line)[:, 2:-2]
    torch.testing.assert_close(slopes, torch.tensor([2.0, -3.0]).expand_as(slopes))


def test_published_windows_join_what_stays_the_same():
    windows, signal = Windows(one_pass=1, window=1, stride=0.75, drop=0.125), torch.randn(1, 387)
    joined = in_windows(lambda part: torch.stack((part, -part), 1), signal, windows, 80)
    assert torch.equal(joined[0, :, :387], torch.cat((signal, -signal)))
    assert joined.shape[-1] == padded_length(387, 80, 60)


@pytest.mark.parametrize(("length", "padded"), [(50, 80), (80, 140), (139, 140), (140, 140), (150, 240)])
def test_published_padding(length, padded):
    assert padded_length(length, 80, 60) == padded


def test_published_levels():
    mixture = torch.randn(1, 1000) * 0.3
    scaled = at_mixture_level(torch.randn(1, 2, 1000), mixture)
    torch.testing.assert_close(scaled.square().mean(-1), mixture.square().mean().expand(1, 2))


@torch.no_grad()
def test_the_deployed_form_gives_the_same_through_packed_layers():
    enhancer = MODELS.build(dict(type="MossFormer2SE", num_blocks=1, dim=16, attention=ATTENTION, memory=MEMORY)).eval()
    for network, signal in ((separator(), torch.randn(2, 700) * 0.1), (enhancer, torch.randn(1, 9600) * 0.1)):
        expected = network(signal)
        deployed = deploy(copy.deepcopy(network))
        left = [
            name for name, module in deployed.named_modules() if isinstance(module, torch.nn.Linear | moss.Pointwise)
        ]
        assert not left
        assert sum(isinstance(module, PackedLinear) for module in deployed.modules()) > 10
        torch.testing.assert_close(deployed(signal), expected, rtol=1e-4, atol=1e-6)
