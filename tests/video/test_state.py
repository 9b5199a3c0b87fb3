"""STATE: attention against the formula, perturbation, scores, published checkpoints and configs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.nn.functional import leaky_relu

from toolkit.checkpoint import load_into
from toolkit.commands.parity import main as parity
from toolkit.errors import UserError
from toolkit.published import convert
from toolkit.published.parity import published_state
from toolkit.video.foreground import PUBLISHED_RULES
from toolkit.video.state import (
    STATE,
    AttentionHead,
    attend,
    frame_score,
    perturbed,
    rebuilt,
    reconstruction_loss,
    standardised,
    summed_errors,
)

TESTS = Path(__file__).resolve().parent.parent
CONFIGS = TESTS.parent / "configs" / "video"


def errors(
    model: STATE, patches: torch.Tensor, flow: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return summed_errors(*rebuilt(model, patches, flow, epsilon))


def small(**arguments: object) -> STATE:
    torch.manual_seed(0)
    model = STATE(layers=2, channels=(4, 8, 16), heads=2, **arguments)
    for parameter in model.parameters():  # so that neither heads nor layers are copies of each other
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.double().eval()


def objects(count: int = 3, frames: int = 5, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(count, frames, 3, size, size).double(), torch.randn(count, frames, 2, size, size).double()


def attend_pair_by_pair(head: AttentionHead, x: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One head of one object, (T, c, H, W), as the paper has it: a convolution for each pair of frames."""
    query = leaky_relu(head.query(x), 0.2)
    value = leaky_relu(head.key_value(x), 0.2)
    frames = range(len(x))
    rows = [
        [
            leaky_relu(head.score(torch.cat((query[i] + position[i], value[j] + position[j]))[None])[0, 0], 0.2)
            for j in frames
        ]
        for i in frames
    ]
    weights = torch.stack([torch.stack(row) for row in rows]).softmax(1)  # (T, T, H, W)
    return torch.stack([(weights[i][:, None] * value).sum(0) for i in frames]), weights


@torch.no_grad()
@pytest.mark.parametrize("per_pixel", [False, True])
def test_attention_is_that_of_every_pair_of_frames(per_pixel: bool) -> None:
    torch.manual_seed(0)
    heads = [AttentionHead(4).double() for _ in range(3)]
    x = torch.randn(2, 5, 12, 6, 7).double()
    position = torch.randn(5, 4, *((6, 7) if per_pixel else (1, 1))).double()
    out, weights = attend(heads, x, position)
    place = position.expand(5, 4, 6, 7)
    for b in range(2):
        for n, head in enumerate(heads):
            want, want_weights = attend_pair_by_pair(head, x[b, :, 4 * n : 4 * n + 4], place)
            assert torch.allclose(out[b, :, 4 * n : 4 * n + 4], want)
            assert torch.allclose(weights[b, n], want_weights)


@torch.no_grad()
def test_objects_of_a_batch_do_not_influence_each_other() -> None:
    model = small()
    patches, flow = objects()
    together = errors(model, patches, flow, 0.01)
    alone = [errors(model, patches[i : i + 1], flow[i : i + 1], 0.01) for i in range(3)]
    for stream in range(2):
        assert torch.allclose(together[stream], torch.cat([one[stream] for one in alone]))


@torch.no_grad()
def test_frames_see_each_other_only_through_attention() -> None:
    model = small()
    patches, _ = objects(count=1)
    changed = patches.clone()
    changed[:, 0] += 0.5
    moved = (model(changed)[1] - model(patches)[1]).abs().amax((0, 2, 3, 4))
    assert (moved > 0).all()
    for layer in model.flow.temporal.layers:
        for head in layer.heads:
            head.key_value.weight.zero_()
            head.key_value.bias.zero_()
    moved = (model(changed)[1] - model(patches)[1]).abs().amax((0, 2, 3, 4))
    assert moved[0] > 0
    assert (moved[1:] == 0).all()


@torch.no_grad()
def test_the_order_of_frames_counts_through_the_positions_alone() -> None:
    model = small()
    patches, _ = objects(count=1)
    assert not torch.allclose(model(patches.flip(1))[0].flip(1), model(patches)[0])
    model.raw.temporal.position.weight.zero_()
    assert torch.allclose(model(patches.flip(1))[0].flip(1), model(patches)[0])


def test_layers_and_heads_start_alike_and_streams_do_not() -> None:
    torch.manual_seed(0)
    model = STATE(layers=2, channels=(4, 8, 16), heads=2)
    layers = model.raw.temporal.layers
    first = layers[0].heads[0].query.weight
    assert all(torch.equal(head.query.weight, first) for layer in layers for head in layer.heads)
    assert first is not layers[1].heads[0].query.weight
    assert not torch.equal(first, model.flow.temporal.layers[0].heads[0].query.weight)


def test_the_gradient_runs_through_the_frames_as_target_too() -> None:
    model = small()
    patches, flow = objects()

    def loss(patches: torch.Tensor) -> torch.Tensor:
        raw, of_flow = model(patches)
        return ((raw - patches) ** 2).mean() + ((of_flow - flow) ** 2).mean()

    moved, gradient = perturbed(model, patches, flow, 0.01)
    direction = torch.randn_like(patches)
    with torch.no_grad():
        slope = (loss(patches + 1e-6 * direction) - loss(patches - 1e-6 * direction)) / 2e-6
    assert torch.isclose((gradient * direction).sum(), slope, rtol=1e-4)
    assert torch.allclose(moved, patches - 0.01 * gradient.sign())
    assert moved.min() < 0  # not cut
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not moved.requires_grad


def test_scoring_works_without_gradients_of_anything_and_lowers_the_errors() -> None:
    model = small().requires_grad_(False)
    patches, flow = objects()
    with torch.no_grad():
        stepped = errors(model, patches, flow, 1e-4)
        plain = errors(model, patches, flow, 0.0)
        raw, of_flow = model(patches)
    assert torch.allclose(plain[0], ((raw - patches) ** 2).sum((1, 2, 3, 4)))
    assert torch.allclose(plain[1], ((of_flow - flow) ** 2).sum((1, 2, 3, 4)))
    sizes = patches[0].numel(), flow[0].numel()
    before, after = (sum(e.sum() / n for e, n in zip(pair, sizes, strict=True)) for pair in (plain, stepped))
    assert after < before


def test_errors_after_the_step_are_against_the_perturbed_frames() -> None:
    model = small()
    patches, flow = objects()
    moved, _ = perturbed(model, patches, flow, 0.05)
    raw, _ = errors(model, patches, flow, 0.05)
    with torch.no_grad():
        outputs = model(moved)
    assert torch.allclose(raw, summed_errors(outputs, (moved, flow))[0])
    assert not torch.allclose(raw, summed_errors(outputs, (patches, flow))[0], rtol=1e-3)


def test_a_short_training_lowers_the_loss_a_lot() -> None:
    torch.manual_seed(0)
    model = STATE(layers=1, channels=(8, 16, 16), heads=2)
    patches = torch.rand(4, 3, 3, 1, 1).expand(-1, -1, -1, 8, 8).contiguous()
    flow = patches[:, :, :2] - 0.5
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(reconstruction_loss(model(patches), (patches, flow)))
        losses[-1].backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())  # every one is used
    assert losses[-1] < 0.25 * losses[0]


def test_errors_are_told_in_deviations_of_normal_objects() -> None:
    found = standardised(np.array([[60.0, 7.0]]), np.array([50.0, 8.0]), np.array([5.0, 2.0]))
    assert np.allclose(found, [[2.0, -0.5]])
    assert np.isfinite(standardised(np.array([[3.0]]), np.array([2.0]), np.array([0.0]))).all()  # all alike


def test_a_frame_has_the_score_of_its_oddest_visible_object() -> None:
    boxes = np.array([[2, 3, 9, 9], [5.2, 1, 5.9, 8], [40, 40, 50, 50], [-3, -3, 4, 4]])
    assert frame_score(np.array([1.0, 9.0, 9.0, 0.5]), boxes, (20, 30)) == 1.0  # thin: no pixel; outside: none
    assert frame_score(np.array([1.0, 9.0, 9.0, 2.5]), boxes, (20, 30)) == 2.5
    assert frame_score(np.array([9.0, 9.0]), boxes[1:3], (20, 30)) == -100000.0
    assert frame_score(np.zeros(0), np.zeros((0, 4)), (20, 30)) == -100000.0
    assert np.isnan(frame_score(np.zeros(0), np.zeros((0, 4)), (20, 30), empty=float("nan")))


def test_sizes_that_cannot_be_are_named() -> None:
    model = small(positions=5)
    with pytest.raises(ValueError, match="8x10; both sides must be multiples of 4"):
        model(torch.zeros(1, 5, 3, 8, 10).double())
    with pytest.raises(ValueError, match="6 frames, but positions=5"):
        model(torch.zeros(1, 6, 3, 8, 8).double())
    with pytest.raises(ValueError, match="heads=3 for 16"):
        STATE(1, (4, 8, 16), heads=3)


@pytest.mark.parametrize(
    ("name", "params", "unused", "rules"),
    [
        ("state_avenue", 3312261, 744200, "avenue"),
        ("state_shanghaitech", 4356757, 892168, "shanghaitech"),
    ],
)
def test_configs_are_the_published_networks(name: str, params: int, unused: int, rules: str) -> None:
    config = Config.fromfile(CONFIGS / f"{name}.py")
    model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == params - unused
    assert model.extractor.rules == PUBLISHED_RULES[rules]
    assert not model.extractor.scale_rules


@pytest.mark.parametrize("name", sorted(path.stem for path in (TESTS / "parity").glob("state_*.json")))
def test_published_outputs(name: str, capsys: pytest.CaptureFixture) -> None:
    assert parity([str(TESTS / "parity" / f"{name}.json")]) == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    facts = json.loads((TESTS / "parity" / "state_perturbation_avenue.json").read_text())
    return {f"module.{key}": value for key, value in published_state(facts).items()}


@torch.no_grad()
@pytest.mark.parametrize("wrap", [lambda x: [[[x]]], lambda x: [[], [[[x]]]]])
def test_published_files_load_as_they_are(wrap, published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(wrap(published), tmp_path / "published.npy")
    model = STATE()
    loaded = load_into(model, tmp_path / "published.npy")
    assert loaded.recognised == "STATE"
    assert not loaded.missing
    assert not loaded.unexpected
    key = "module.encoder_of.encoder.2.attention_heads.3.attentionmap.conv0.0.weight"
    assert torch.equal(model.flow.temporal.layers[2].heads[3].score.weight, published[key])
    assert torch.equal(model.raw.decoder[1].up.bias, published["module.prediction.up3.up.bias"])


def test_a_file_with_several_models_is_refused(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save([[[published], [published]]], tmp_path / "two.pth")
    with pytest.raises(UserError, match=r"two\.pth holds 2 models"):
        load_into(STATE(), tmp_path / "two.pth")


def test_a_checkpoint_of_another_depth_does_not_fit(published: dict[str, torch.Tensor]) -> None:
    converted = convert(published, STATE(layers=2))
    assert not converted.missing
    assert all("encoder.2." in key for key in converted.unexpected)
    assert len(converted.unexpected) == 2 * (4 * 6 + 4)


@pytest.mark.shared
def test_every_published_case_of_state(shared: Path) -> None:
    assert parity([str(shared / "parity" / "cases" / "state_*.json")]) == 0
