import json

import cv2
import numpy as np
import pytest

from toolkit.cli import run
from toolkit.errors import UserError
from toolkit.video.composite import PAUSE, plan
from toolkit.video.datasets import find_clips
from toolkit.video.frames import open_video
from toolkit.video.passers import KINDS, SPEEDS, find_cutouts, make_passer
from toolkit.video.writer import has_sound_writer, open_writer

WIDTH, HEIGHT, RATE = 160, 120, 10


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    """Thirty seconds of a grey place."""
    path = tmp_path_factory.mktemp("normal") / "normal.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    place = cv2.resize(np.random.default_rng(0).integers(90, 150, (12, 16, 3), np.uint8), (WIDTH, HEIGHT))
    for _ in range(30 * RATE):
        writer.write(place)
    writer.release()
    return path


def make(source, out, *options):
    return run("make-anomaly-video", [str(source), str(out), *options])


def frames_of(path):
    with open_video(path) as video:
        return np.stack([frame for _, frame in video]).astype(int)


def crossing_of(kind, lane=(0.8, 0.8), seed=0):
    rng = np.random.default_rng(seed)
    (crossing,) = plan([make_passer(kind, rng)], 60.0, (320, 240), 0.3, lane, rng)
    return crossing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_passer_crosses_once_at_its_speed_on_its_ground(kind, seed):
    crossing = crossing_of(kind, (0.6, 0.9), seed)
    ground = np.full((240, 320, 3), 128, np.uint8)
    last = crossing.begin + crossing.seconds(320)
    for seconds in (crossing.begin - 0.01, last + 0.01):
        frame = ground.copy()
        assert crossing.paint(frame, seconds) is None
        assert np.array_equal(frame, ground)
    boxes = []
    for seconds in np.arange(crossing.begin, last, 0.05):
        box = crossing.paint(frame := ground.copy(), seconds)
        changed = np.abs(frame.astype(int) - 128).max(2) > 0
        assert box is not None or not changed.any()
        if box is None:
            continue
        x1, y1, x2, y2 = box
        boxes.append((seconds, (x1 + x2) / 2, y2, x1 > 0 and x2 < 320))
        if x1 > 0 and x2 < 320:
            changed[y1 - 2 : y2 + 2, max(x1 - 2, 0) : x2 + 2] = False
            changed[round(y2 - 0.22 * crossing.passer.size[0] * crossing.scale) :] = False  # the shadow
            assert not changed.any(), "what is painted lies in the box"
    whole = np.array([entry[:3] for entry in boxes if entry[3]])
    speed = np.polyfit(whole[:, 0], whole[:, 1], 1)[0] / crossing.scale
    assert abs(speed) == pytest.approx(crossing.passer.speed, rel=0.05)
    assert (speed < 0) == crossing.leftward
    assert crossing.passer.speed == pytest.approx(SPEEDS[kind], rel=0.21)
    expected = 240 * (0.6 + 0.3 * whole[:, 1] / 320)
    assert np.abs(whole[:, 2] - expected).max() < 0.12 * crossing.passer.size[1] * crossing.scale


@pytest.mark.parametrize("kind", KINDS)
def test_legs_and_wheels_move(kind):
    passer = make_passer(kind, np.random.default_rng(0))
    colors, alpha = passer.draw(0.0, 60)
    later, later_alpha = passer.draw(0.5, 60)
    assert colors.shape[:2] == alpha.shape == later_alpha.shape
    half = len(alpha) // 2
    moved = np.abs(colors * alpha[..., None] - later * later_alpha[..., None]).max(2) > 40
    assert moved[half:].sum() > 15


def test_crossings_come_one_after_the_other_and_follow_the_seed():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = plan([make_passer(kind, rng) for kind in KINDS], 40.0, (320, 240), 0.3, None, rng)
        spans = [(one.begin, one.begin + one.seconds(320)) for one in made]
        edges = np.array([0.0, *np.ravel(spans), 40.0])
        assert (edges[1::2] - edges[::2])[:-1].min() >= PAUSE - 1e-9
        assert np.all(np.diff(edges) > 0)
    assert crossing_of("car", None, 3).begin == crossing_of("car", None, 3).begin != crossing_of("car", None, 4).begin


def test_labels_say_where_the_video_differs(normal, tmp_path, monkeypatch, capsys):
    out, painted = tmp_path / "odd.mp4", []

    def kept(*arguments):
        writer = open_writer(*arguments)
        add = writer.add
        writer.add = lambda frame, seconds: painted.append(frame.copy()) or add(frame, seconds)
        return writer

    monkeypatch.setattr("toolkit.video.composite.open_writer", kept)
    assert make(normal, out, "--person", "0.3", "--seed", "5") == 0
    entry = json.loads((tmp_path / "odd.json").read_text())["odd"]
    before, after = frames_of(normal), frames_of(out)
    labels = np.array(entry["labels"])
    assert len(labels) == len(before) == len(after) == len(painted)
    assert 20 < labels.sum() < 200
    change = np.abs(np.stack(painted) - before).max((1, 2, 3))
    assert change[labels == 0].max() == 0
    assert change[labels == 1].min() > 45
    change = np.abs(after - before).max((1, 2, 3))
    assert np.median(change[labels == 1]) > 45
    if has_sound_writer():  # OpenCV's own coder leaves traces of what has passed until its next whole picture
        assert change[labels == 0].max() < 45
    assert [event["kind"] for event in entry["events"]] == ["bicycle", "car", "runner"]
    assert f"{labels.sum()} of {len(labels)}" in capsys.readouterr().out
    for event in entry["events"]:
        rows = [row for row in entry["boxes"] if row[1] == event["track"]]
        assert [row[0] for row in rows] == list(range(event["first_frame"], event["last_frame"] + 1))
        assert event["start"] == pytest.approx(event["first_frame"] / RATE)
    (clip,) = find_clips(out)
    assert clip.labels(np.arange(len(labels)) / RATE).tolist() == entry["labels"]
    assert [len(boxes) > 0 for boxes, _ in clip.regions()] == (labels == 1).tolist()


def test_the_same_seed_gives_the_same_and_another_something_else(normal, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert make(normal, tmp_path / f"{name}.mp4", "--person", "0.3", "--events", "1", "--seed", seed) == 0
    a, b, c = (json.loads((tmp_path / f"{name}.json").read_text())[name] for name in "abc")
    assert a == b != c
    assert np.array_equal(frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4"))


def test_a_part_without_passers_is_the_normal_video(normal, tmp_path):
    assert make(normal, tmp_path / "cut.mp4", "--events", "0", "--start", "2", "--end", "5") == 0
    entry = json.loads((tmp_path / "cut.json").read_text())["cut"]
    assert entry["labels"] == [0] * 30
    assert entry["boxes"] == entry["events"] == []
    assert np.abs(frames_of(tmp_path / "cut.mp4") - frames_of(normal)[20:50]).mean() < 3


def test_passers_are_cut_out_of_pictures(normal, tmp_path):
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[20:80, 40:60] = (0, 0, 255)
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "1.png"), picture)
    person = dict(
        id=1, image_id=1, category_id=7, bbox=[40, 20, 20, 60], segmentation=[[40, 20, 59, 20, 59, 79, 40, 79]]
    )
    image = dict(id=1, file_name="1.png", width=100, height=100)
    content = dict(images=[image], annotations=[person], categories=[dict(id=7, name="person")])
    (tmp_path / "polygons_val.json").write_text(json.dumps(content))
    options = ("--cutouts", str(tmp_path / "polygons_val.json"), "--kinds", "runner,car", "--events", "2")
    assert make(normal, tmp_path / "odd.mp4", *options, "--person", "0.3") == 0
    runner, car = json.loads((tmp_path / "odd.json").read_text())["odd"]["events"]
    assert (runner["drawn"], car["drawn"]) == (False, True)
    frame = frames_of(tmp_path / "odd.mp4")[(runner["first_frame"] + runner["last_frame"]) // 2]
    assert ((frame[..., 2] > 180) & (frame[..., :2].max(2) < 60)).sum() > 150, "the red of the picture"
    with pytest.raises(UserError, match="--images"):
        find_cutouts(tmp_path / "polygons_val.json", tmp_path / "none")
    person["bbox"] = [0, 20, 20, 60]
    (tmp_path / "polygons_val.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="no polygon shows"):
        find_cutouts(tmp_path / "polygons_val.json")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kinds", "plane"], "--kinds plane"),
        (["--events", "-1"], "--events"),
        (["--person", "0"], "--person"),
        (["--lane", "3", "4"], "--lane"),
        (["--start", "5", "--end", "4"], "--start"),
        (["--start", "500"], "--start"),
        (["--events", "50"], "50 crossings need"),
        (["--cutouts", "none.json"], "none.json"),
    ],
)
def test_options_that_cannot_be_are_one_line(normal, tmp_path, capsys, options, said):
    assert make(normal, tmp_path / "odd.mp4", *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(normal, tmp_path, capsys):
    (tmp_path / "odd.json").write_text("mine")
    assert make(normal, tmp_path / "odd.mp4", "--events", "0") == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "odd.json").read_text() == "mine"
    assert make(normal, tmp_path / "odd.mp4", "--events", "0", "--force") == 0
    assert make(normal, tmp_path / "odd.avi") == 2
