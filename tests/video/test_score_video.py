"""From normal footage to events in another video, by the commands that users type."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from toolkit.cli import run
from toolkit.video.frames import open_video
from toolkit.video.object_scorer import ObjectScorer
from toolkit.video.scorer import Regions, segments
from toolkit.video.scoring import MeasuredVideo

WIDTH, HEIGHT, RATE = 96, 64, 25
SMALL = [
    "model.network.channels=(4,8)",
    "model.network.layers=1",
    "model.network.heads=2",
    "model.extractor.size=8",
    "train_dataloader.batch_size=16",
    "train_dataloader.dataset.samples=400",
    "optim_wrapper.optimizer.lr=0.01",
]
NETWORK = dict(type="STATE", layers=1, channels=(4, 8), heads=2)
EXTRACTOR = dict(
    rules=dict(min_score=0.25, min_box_area=1600.0, max_cover=0.6, blur=5, min_difference=18, min_motion_area=1600.0),
    size=8,
)


def write_video(path, count, odd=(), seed=0):
    """A bright square that wanders slowly over a grey place; in frames `odd` it is dark and fast."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    place = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    x = 10.0 + 5 * seed
    step = 1.0
    for number in range(count):
        fast = number in odd
        step = -step if not 5 < x + step * (5 if fast else 1) < WIDTH - 25 else step
        x += step * (5 if fast else 1)
        frame = place.copy()
        frame[20:40, round(x) : round(x) + 20] = (30, 20, 20) if fast else (200, 220, 180)
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model that has learnt from two videos, by the command."""
    folder = tmp_path_factory.mktemp("fitted")
    normal = [write_video(folder / f"{name}.avi", 220, seed=seed) for seed, name in enumerate("ab")]
    argv = ["fit", *map(str, normal), "-o", str(folder / "model.pth"), "--cfg-options", *SMALL]
    assert run("score-video", argv) == 0
    assert not (folder / "model.fit").exists()
    return folder / "model.pth"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("odd") / "odd.avi", 200, odd=range(100, 130), seed=2)


def test_what_is_odd_is_found_and_when(fitted, odd, tmp_path, capsys):
    argv = ["score", str(odd), "--model", str(fitted), "-o", str(tmp_path), "--heat-map", "--quantile", "1"]
    assert run("score-video", argv) == 0
    assert "1 events" in capsys.readouterr().out
    told = json.loads((tmp_path / "odd" / "scores.json").read_text())
    assert told["frames"] == 200
    (event,) = told["events"]
    assert event["start"] == pytest.approx(100 / RATE, abs=0.7)
    assert event["end"] == pytest.approx(130 / RATE, abs=0.7)
    rows = list(csv.DictReader((tmp_path / "odd" / "scores.csv").open()))
    assert len(rows) == 200
    scores = np.array([float(row["score"]) for row in rows])
    assert scores[104:126].min() > np.quantile(scores[:90], 0.9)
    picture = cv2.imread(str(tmp_path / "odd" / "timeline.png"))
    assert picture.std() > 10
    with open_video(tmp_path / "odd" / "annotated.mp4") as video:
        drawn = [frame for _, frame in video]
    assert len(drawn) == 200
    red = [((frame[:HEIGHT, :, 2].astype(int) - frame[:HEIGHT, :, 0]) > 80).mean() for frame in drawn]
    assert np.mean(red[105:125]) > 0.02 > np.mean(red[20:80])


def test_a_killed_run_goes_on_from_the_cache(fitted, odd, tmp_path, monkeypatch, capsys):
    argv = ["score", str(odd), "--model", str(fitted), "-o", str(tmp_path), "--no-video"]
    measured = []
    measure = ObjectScorer.measure

    def dies(self, frames, targets):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(len(targets))
        return measure(self, frames, targets)

    monkeypatch.setattr(ObjectScorer, "measure", dies)
    assert run("score-video", argv) == 130
    assert not (tmp_path / "odd").exists()

    def counts(self, frames, targets):
        measured.append(len(targets))
        return measure(self, frames, targets)

    monkeypatch.setattr(ObjectScorer, "measure", counts)
    assert run("score-video", argv) == 0
    assert sum(measured) == 200, "every frame once"
    assert run("score-video", argv) == 2
    assert "--force" in capsys.readouterr().err
    assert run("score-video", [*argv, "--force"]) == 0
    assert "all from the cache" in capsys.readouterr().out
    assert sum(measured) == 200


def test_a_broken_video_does_not_stop_the_others(fitted, odd, tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.avi").write_bytes(odd.read_bytes())
    (folder / "broken.avi").write_bytes(b"no video at all")
    (folder / "tail.avi").write_bytes(odd.read_bytes()[: -odd.stat().st_size // 3])
    argv = ["score", str(folder), "--model", str(fitted), "-o", str(tmp_path / "out"), "--no-video"]
    assert run("score-video", argv) == 1
    err = capsys.readouterr().err
    assert "1 of 3 videos could not be scored" in err
    assert "broken.avi" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert (tmp_path / "out" / "a" / "scores.json").exists()
    tail = json.loads((tmp_path / "out" / "tail" / "scores.json").read_text())
    assert 0 < tail["frames"] < 200
    assert tail["problems"]


def test_scores_of_segments_are_those_of_the_whole(fitted, odd):
    torch.manual_seed(0)
    model = ObjectScorer(NETWORK, EXTRACTOR, epsilon=0.01).eval()
    with open_video(odd) as video:
        frames = list(video)[:70]
    found = {}
    for length in (7, 64, 100):
        pieces = segments(iter(frames), length, model.before, model.after, 640)
        found[length] = [one for piece in pieces for one in model.measure(piece.frames, piece.targets)]
    for length in (7, 64):
        for one, other in zip(found[100], found[length], strict=True):
            assert np.allclose(one.boxes, other.boxes)
            assert np.allclose(one.errors, other.errors, rtol=1e-4)


def test_measured_again_is_what_was_measured(fitted, odd, tmp_path):
    model = ObjectScorer(NETWORK, EXTRACTOR).eval()
    model.normal_std += 1
    measured = MeasuredVideo(model, odd, tmp_path, "key")
    assert measured.measure() == 200
    assert measured.measure() == 0
    times, scores = measured.scores()
    assert np.allclose(times, np.arange(200) / RATE, atol=1e-3)
    with open_video(odd) as video:
        pieces = segments(video, 64, model.before, model.after, 640)
        direct = [one for piece in pieces for one in model.measure(piece.frames, piece.targets)]
    assert np.allclose(scores, [model.frame_score(one) for one in direct])
    for (_, one), other in zip(measured, direct, strict=True):
        assert np.allclose(one.heat, other.heat, rtol=2e-3)


def test_the_step_and_the_weights_are_those_of_the_formula():
    model = ObjectScorer(NETWORK, EXTRACTOR, epsilon=0.01, raw_weight=0.3, flow_weight=2.0)
    model.normal_mean.copy_(torch.tensor([10.0, 4.0]))
    model.normal_std.copy_(torch.tensor([2.0, 0.5]))
    assert np.allclose(model.region_scores(np.array([[12.0, 4.25]])), 0.3 * 1 + 2 * 0.5)
    assert model.empty_score == pytest.approx(0.3 * -5 + 2 * -8)
    assert ObjectScorer(NETWORK, EXTRACTOR, empty_score=-1e5).frame_score(Regions.none(2)) == -1e5
    names = [name for name, _ in model.variants()]
    assert names == ["raw", "flow", "raw + flow", "raw, perturbed", "flow, perturbed", "raw + flow, perturbed"]
    raw = dict(model.variants())["raw"]
    assert np.allclose(raw.region_scores(np.array([[12.0, 99.0]])), 0.3)
    assert raw.epsilon == 0
    assert model.epsilon == 0.01


def test_statistics_are_those_of_the_training_objects_without_a_step():
    torch.manual_seed(0)
    model = ObjectScorer(NETWORK, EXTRACTOR, epsilon=0.5)
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (70, 7, 3, 8, 8)).astype(np.uint8)
    flow = rng.normal(0, 1, (70, 7, 2, 8, 8)).astype(np.float16)
    model.learn_statistics([{"patches": p, "flow": f} for p, f in zip(patches, flow, strict=True)])
    assert model.training
    model.eval()
    with torch.no_grad():
        raw, of_flow = model(torch.from_numpy(patches))
    errors = ((raw - torch.from_numpy(patches) / 255) ** 2).sum((1, 2, 3, 4)).double()
    assert model.normal_mean[0] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert model.normal_std[0] == pytest.approx(errors.std(correction=0).item(), rel=1e-5)
    errors = ((of_flow - torch.from_numpy(flow).float()) ** 2).sum((1, 2, 3, 4)).double()
    assert model.normal_mean[1] == pytest.approx(errors.mean().item(), rel=1e-5)


def test_a_fit_that_was_cut_off_goes_on_and_never_with_other_footage(tmp_path, monkeypatch, capsys):
    normal, other = (write_video(tmp_path / f"{name}.avi", 80, seed=seed) for seed, name in enumerate("ab"))
    argv = ["-o", str(tmp_path / "m.pth"), "--cfg-options", *SMALL, "train_cfg.max_epochs=2"]
    learn = ObjectScorer.learn_statistics

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ObjectScorer, "learn_statistics", dies)
    assert run("score-video", ["fit", str(normal), *argv]) == 130
    assert (tmp_path / "m.fit" / "training" / "epoch_1.pth").exists()
    monkeypatch.setattr(ObjectScorer, "learn_statistics", learn)
    assert run("score-video", ["fit", str(other), *argv]) == 2
    assert "another fit" in capsys.readouterr().err
    assert run("score-video", ["fit", str(normal), *argv]) == 0
    out = capsys.readouterr().out
    assert "going on from" in out
    assert "epoch 1/2" not in out
    assert "epoch 2/2" in out
    assert not (tmp_path / "m.fit").exists()


class Live:
    """A live source that ends."""

    def __init__(self, frames):
        self.frames, self.fps, self.problems = frames, RATE, ["dropped nothing"]

    def __iter__(self):
        return iter(self.frames)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_a_live_source_tells_events_as_they_come(fitted, odd, tmp_path, monkeypatch, capsys):
    with open_video(odd) as video:
        frames = list(video)
    monkeypatch.setattr("toolkit.video.frames.open_video", lambda *_: Live(frames))
    argv = ["score", "rtsp://camera/1", "--model", str(fitted), "-o", str(tmp_path), "--quantile", "1"]
    assert run("score-video", argv) == 0
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["event"] for one in told] == ["start", "end"]
    assert told[1]["start"] == pytest.approx(4.0, abs=1.0)
    assert "s late" in err
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len(rows) == 200


def test_labelled_clips_are_measured_in_one_table(fitted, odd, tmp_path, capsys):
    root = tmp_path / "set"
    (root / "test").mkdir(parents=True)
    (root / "test" / "odd.avi").write_bytes(odd.read_bytes())
    labels = [int(100 <= number < 130) for number in range(200)]
    (root / "test_labels.json").write_text(json.dumps({"odd": labels}))
    out = tmp_path / "table.csv"
    argv = ["evaluate", str(root), "--model", str(fitted), "-o", str(out), "--cache", str(tmp_path / "cache")]
    assert run("score-video", argv) == 0
    rows = list(csv.DictReader(out.open()))
    assert [row["variant"] for row in rows][:3] == ["raw", "flow", "raw + flow"]
    assert float(rows[2]["micro_auc"]) > 0.9
    assert rows[2]["rbdc"] == "nan"
    assert "micro_auc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fit", "nowhere.mp4", "-o", "m.pth"], "nowhere.mp4 does not exist"),
        (["fit", "STILL", "-o", "m.pth"], "nothing moves"),
        (["fit", "STILL", "-o", "m.pt"], "ends in .pth"),
        (["score", "STILL", "--model", "MODEL"], "--out"),
        (["score", "STILL", "--model", "nowhere.pth", "-o", "out"], "nowhere.pth does not exist"),
        (["score", "STILL", "--model", "OTHER", "-o", "out"], "carries no config"),
        (["score", "STILL", "--model", "MODEL", "-o", "out", "--quantile", "99"], "--quantile 99"),
        (["score", "empty.mp4", "--model", "MODEL", "-o", "out"], "empty"),
        (["evaluate", "STILL", "--model", "MODEL"], "has no labels"),
    ],
)
def test_bad_input_is_one_line(argv, words, fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("still.avi", cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for _ in range(30):
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    writer.release()
    (tmp_path / "empty.mp4").touch()
    torch.save({"state_dict": {"a": torch.zeros(1)}}, "other.pth")
    places = {"STILL": "still.avi", "MODEL": str(fitted), "OTHER": "other.pth"}
    assert run("score-video", [places.get(word, word) for word in argv]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "m.pth").exists()


@pytest.mark.parametrize("count", [1, 3, 30])
def test_videos_where_nothing_moves_or_that_are_short_have_scores(count, fitted, tmp_path):
    path = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for _ in range(count):
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    writer.release()
    assert run("score-video", ["score", str(path), "--model", str(fitted), "-o", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "still" / "scores.json").read_text())
    assert told["frames"] == count
    assert told["events"] == []
    assert told["unscored"] == 0


def test_the_baseline_goes_the_same_way_and_says_which_frames_it_cannot_score(odd, tmp_path, capsys):
    normal, model = write_video(tmp_path / "a.avi", 100), tmp_path / "m.pth"
    assert run("score-video", ["fit", str(normal), "-o", str(model), "--config", "video/frame_difference"]) == 0
    assert "threshold is taken from what was learnt from" in capsys.readouterr().err
    assert run("score-video", ["score", str(odd), "--model", str(model), "-o", str(tmp_path / "out")]) == 0
    assert "the first 1 frames have no score" in capsys.readouterr().err
    told = json.loads((tmp_path / "out" / "odd" / "scores.json").read_text())
    assert told["scores"][0] is None
    assert told["unscored"] == 1
    argv = ["score", str(odd), "--model", str(model), "-o", str(tmp_path / "again"), "--no-perturb"]
    assert run("score-video", argv) == 2
    assert "FrameDifference, which takes no such step" in capsys.readouterr().err


def test_published_weights_need_statistics_alone(tmp_path, capsys):
    torch.manual_seed(0)
    network = MODELS.build(NETWORK)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    normal = write_video(tmp_path / "a.avi", 100)
    argv = ["fit", str(normal), "-o", str(tmp_path / "m.pth"), "--checkpoint", str(tmp_path / "weights.pth")]
    assert run("score-video", [*argv, "--cfg-options", *SMALL]) == 0
    state = torch.load(tmp_path / "m.pth", weights_only=True)["state_dict"]
    assert torch.equal(state["network.raw.out.weight"], network.raw.out.weight)
    assert state["normal_std"].min() > 0
