"""CT-D2GAN: attention over frames, training with two optimizers, scores of whole frames."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from toolkit.checkpoint import load_checkpoint
from toolkit.cli import run
from toolkit.video.ctd2gan import CTD2GAN, TemporalAttention, gradient_loss
from toolkit.video.frame_clips import FrameClips
from toolkit.video.scorer import segments

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIZE = (16, 24)


def small(**options):
    torch.manual_seed(0)
    sizes = dict(size=SIZE, channels=(8, 8, 16), heads=2, layers=2, discriminator_channels=((4, 8, 8), (4, 4, 8)))
    return CTD2GAN(**sizes | options).eval()


def optimizers(model, rate=2e-3):
    return OptimWrapperDict(**{
        name: OptimWrapper(torch.optim.Adam(getattr(model, name).parameters(), rate))
        for name in ("generator", "discriminators")
    })  # fmt: skip


def moving(count, height=32, width=48, speed=2):
    """A bright square that goes round and round over a grey ground."""
    frames = np.full((count, height, width, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        x = 4 + speed * number % (width - 16)
        frame[10:20, x : x + 8] = (30, 200, 250)
    return list(frames)


def as_video(frames):
    return [(number / 25, frame) for number, frame in enumerate(frames)]


def sequences(model, frames):
    """All sequences of T + 1 frames as a batch."""
    resized = [cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_AREA).transpose(2, 0, 1) for frame in frames]
    length = model.frames + 1
    starts = range(len(frames) - length + 1)
    return {"frames": torch.from_numpy(np.stack([resized[start : start + length] for start in starts]))}


# --- network --------------------------------------------------------------------------------------------------------


def test_attention_weighs_whole_maps_by_one_number_for_each_head_and_pair_of_frames():
    torch.manual_seed(0)
    layer, x = TemporalAttention(6, 2, 4), torch.rand(3, 4, 6, 5, 7)
    weights = layer.weights(x)
    assert weights.shape == (3, 2, 4, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4))
    assert weights.std(-1).min() > 1e-3
    values = torch.stack([layer.value(x[:, frame]) for frame in range(4)], 1)
    expected = torch.zeros_like(x)
    for head in range(2):
        channels = slice(3 * head, 3 * head + 3)
        for i in range(4):
            for j in range(4):
                expected[:, i, channels] += weights[:, head, i, j, None, None, None] * values[:, j, channels]
    joined = (expected + x).flatten(0, 1)
    expected = layer.norm(layer.feedforward(joined) + joined).unflatten(0, (3, 4))
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x, last_only=True), expected[:, -1:])


def test_weights_do_not_depend_on_where_in_a_frame_things_are():
    torch.manual_seed(0)
    layer, x = TemporalAttention(6, 2, 4), torch.rand(1, 4, 6, 5, 7)
    torch.testing.assert_close(layer.weights(x), layer.weights(x.flip(3, 4)))
    assert (layer.weights(x) - layer.weights(x.flip(1))).abs().max() > 1e-3, "but on the order of frames"


def test_every_past_frame_counts_and_so_does_where_its_contents_are():
    model = small()
    frames = sequences(model, moving(5))["frames"][:, :4]
    prediction = model(frames)
    for number in range(4):
        changed = frames.clone()
        changed[:, number] = changed[:, number].roll(6, -1)
        assert (model(changed) - prediction).abs().max() > 1e-4, number


def test_gradient_loss():
    x, y = torch.rand(2, 2, 3, 5, 6).double()
    down = ((x[..., 1:, :] - x[..., :-1, :]).abs() - (y[..., 1:, :] - y[..., :-1, :]).abs()).abs().mean()
    across = ((x[..., 1:] - x[..., :-1]).abs() - (y[..., 1:] - y[..., :-1]).abs()).abs().mean()
    torch.testing.assert_close(gradient_loss(x, y), down + across)
    assert gradient_loss(x, x) == 0


# --- scores ---------------------------------------------------------------------------------------------------------


def test_error_is_that_of_the_prediction_and_its_score_minus_the_psnr():
    model, frames = small(), moving(9)
    with torch.no_grad():
        found = model.measure(frames, range(9))
        batch = sequences(model, frames)["frames"]
        errors = (model(batch[:, :4]) - batch[:, 4].float() / 255).square().mean((1, 2, 3)).numpy()
    assert found[:4] == [None] * 4
    assert [one.errors.item() for one in found[4:]] == pytest.approx(errors, rel=1e-4)
    assert found[4].boxes.tolist() == [[0, 0, 48, 32]]
    assert found[4].heat.mean() == pytest.approx(errors[0], rel=0.2)
    assert model.frame_score(found[4]) == pytest.approx(-10 * np.log10(1 / errors[0]), rel=1e-4)


@pytest.mark.parametrize("patch", [None, 8])
@pytest.mark.parametrize("length", [4, 7, 64])
def test_segments_give_what_the_whole_video_gives(patch, length):
    model, frames = small(patch=patch), moving(21)
    with torch.no_grad():
        whole = model.measure(frames, range(21))
        parts = [
            one
            for segment in segments(as_video(frames), length, model.before, model.after, model.max_side)
            for one in model.measure(segment.frames, segment.targets)
        ]
    assert len(parts) == 21
    assert [one is None for one in parts] == [number < 4 for number in range(21)]
    for part, one in zip(parts[4:], whole[4:], strict=True):
        np.testing.assert_allclose(part.errors, one.errors, rtol=1e-4)
        assert np.array_equal(part.boxes, one.boxes)


def test_worst_patch_is_where_something_else_happens():
    model = small(patch=8)
    frames = [np.full((32, 48, 3), 90, np.uint8) for _ in range(5)]
    frames[4][16:32, 32:48] = 255
    with torch.no_grad():
        (worst,) = model.measure(frames, range(4, 5))
        model.patch = None
        (whole,) = model.measure(frames, range(4, 5))
    assert worst.boxes.tolist() == [[32, 16, 48, 32]]
    assert worst.errors > whole.errors


def test_videos_shorter_than_the_window_have_no_scores():
    assert small().measure(moving(3), range(3)) == [None] * 3


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        small(size=(60, 112))
    with pytest.raises(ValueError, match="patch"):
        small(patch=12)


# --- training -------------------------------------------------------------------------------------------------------


def test_each_optimizer_changes_its_own_part_only():
    model = small()
    data = sequences(model, moving(6))
    frozen = optimizers(model)
    for still, moves in (("generator", "discriminators"), ("discriminators", "generator")):
        for group in frozen[still].param_groups:
            group["lr"] = 0.0
        for group in frozen[moves].param_groups:
            group["lr"] = 1e-3
        before = {name: value.clone() for name, value in model.state_dict().items()}
        losses = model.train_step(data, frozen)
        changed = {name.split(".")[0] for name, value in model.state_dict().items() if not value.equal(before[name])}
        assert changed == {moves}
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())
    named = {"loss_intensity", "loss_gradient", "loss_image", "loss_video"}
    assert losses["loss"].item() == pytest.approx(sum(losses[name].item() for name in named), rel=1e-5)


def test_discriminators_learn_to_tell_predictions_from_frames():
    model = small()
    data = sequences(model, moving(10))
    wrappers = optimizers(model)
    for group in wrappers["generator"].param_groups:
        group["lr"] = 0.0
    first, *_, last = (model.train_step(data, wrappers) for _ in range(25))
    for name in ("loss_image_discriminator", "loss_video_discriminator"):
        assert last[name] < first[name] / 2


def test_training_predicts_what_repeats():
    model, frames = small(), moving(20)
    data = sequences(model, frames)
    wrappers = optimizers(model, 5e-3)
    for _ in range(80):
        losses = model.train_step(data, wrappers)
    copied = (data["frames"][:, 4].float() - data["frames"][:, 3].float()).div(255).square().mean()
    assert losses["loss_intensity"] < copied / 2, "better than the frame before"


# --- data set and runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    """Two clips as folders of pictures, 70 and 3 frames."""
    root = tmp_path_factory.mktemp("normal")
    for name, count in (("a", 70), ("b", 3)):
        (root / "train" / name).mkdir(parents=True)
        for number, frame in enumerate(moving(count, *SIZE, speed=1)):
            cv2.imwrite(str(root / "train" / name / f"{number:03d}.png"), frame)
    return root


def test_clips_are_all_runs_of_frames_and_lie_on_disk_once(normal, tmp_path):
    clips = FrameClips([normal], SIZE, 4, tmp_path)
    frames = np.stack(moving(70, *SIZE, speed=1)).transpose(0, 3, 1, 2)
    assert len(clips) == 66
    for index in range(66):
        assert np.array_equal(clips[index]["frames"], frames[index : index + 5])
    stored = sum(np.load(file).shape[0] for file in tmp_path.glob("a-*/*.frames.npy"))
    assert stored == 70 + 4  # the second segment's four neighbours


@pytest.fixture(scope="module")
def config(normal, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny_ctd2gan.py"
    cache = tmp_path_factory.mktemp("cache")
    path.write_text(f"""
custom_imports = dict(imports=["toolkit"])
default_scope = "mmengine"
data_root = "{normal}/"
model = dict(
    type="CTD2GAN", size={SIZE}, channels=(8, 8, 16), heads=2, discriminator_channels=((4, 8, 8), (4, 4, 8)),
)
train_dataloader = dict(
    batch_size=16, num_workers=0, collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="FrameClips", sources=[data_root], size={SIZE}, cache="{cache}"),
)
optim_wrapper = dict(
    constructor="OptimizersByPart",
    generator=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3)),
    discriminators=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4)),
)
model_wrapper_cfg = dict(type="MMSeparateDistributedDataParallel")
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=8)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)
""")
    return path


def test_two_optimizers_survive_saving_and_resuming(config, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert run("train", [str(config), "--work-dir", str(whole)]) == 0
    assert run("train", [str(config), "--work-dir", str(parted), "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    assert run("train", [str(config), "--work-dir", str(parted), "--resume"]) == 0
    one, other = (load_checkpoint(folder / "epoch_2.pth") for folder in (whole, parted))
    assert set(one["optimizer"]) == {"generator", "discriminators"}
    assert any(name.startswith("discriminators.") for name in one["state_dict"])
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, rtol=0, atol=0)
    for part in one["optimizer"]:
        first, second = (run_["optimizer"][part]["state"] for run_ in (one, other))
        for index, state in first.items():
            torch.testing.assert_close(second[index]["exp_avg"], state["exp_avg"], rtol=0, atol=0)


def test_check_and_bfloat16_take_two_optimizers(config, capsys):
    assert run("train", [str(config), "--check", "--amp"]) == 0
    assert "loss_video_discriminator" in capsys.readouterr().out


def test_wrong_optimizers_are_told(config, tmp_path, capsys):
    argv = [str(config), "--work-dir", str(tmp_path)]
    assert run("train", [*argv, "--cfg-options", "optim_wrapper.encoder={'optimizer':{'type':'Adam'}}"]) == 2
    assert "optim_wrapper.encoder: CTD2GAN has the parts" in capsys.readouterr().err
    assert run("train", [*argv, "--cfg-options", "optim_wrapper.paramwise_cfg={'norm_decay_mult':0}"]) == 2
    assert "optim_wrapper.PART.paramwise_cfg" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_learn_as_one_with_their_batches_together(config, tmp_path):
    plain = "{'type':'OptimWrapper','optimizer':{'type':'SGD','lr':0.1}}"
    parts = [f"optim_wrapper.{name}={plain}" for name in ("generator", "discriminators")]
    options = ["--cfg-options", "train_cfg.max_epochs=1", "model.adversarial_weight=0.1", *parts]
    one = [str(config), "--work-dir", str(tmp_path / "one"), *options, "train_dataloader.batch_size=8"]
    assert run("train", one) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29535"]
    two = [str(config), "--launcher", "pytorch", "--work-dir", str(tmp_path / "two"), *options]
    argv = [*launcher, str(TOOLS / "train.py"), *two, "train_dataloader.batch_size=4"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (load_checkpoint(tmp_path / name / "epoch_1.pth")["state_dict"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)
