import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from toolkit.errors import UserError
from toolkit.video.datasets import find_clips, regions_of_masks
from toolkit.video.frames import open_video


def pictures(folder, count, ending="png"):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03d}.{ending}"), np.full((24, 32, 3), number, np.uint8))


def video(path, count=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    for number in range(count):
        writer.write(np.full((24, 32, 3), 9 * number, np.uint8))
    writer.release()


def times_of(clip):
    with open_video(clip.source, clip.fps) as source:
        return np.array([seconds for seconds, _ in source])


def labels_of(clip):
    return clip.labels(times_of(clip)).tolist()


def some_masks(count=4):
    """One object that moves on in frames 1 and 2, a second one in frame 2."""
    masks = np.zeros((count, 24, 32), np.uint8)
    masks[1, 2:6, 2:8] = 1
    masks[2, 3:7, 4:10] = 1
    masks[2, 15:20, 20:30] = 255
    return masks


def check_regions(regions):
    assert [boxes.tolist() for boxes, _ in regions] == [
        [], [[2, 2, 8, 6]], [[4, 3, 10, 7], [20, 15, 30, 20]], [],
    ]  # fmt: skip
    (first,), (again, second) = regions[1][1], regions[2][1]
    assert first == again != second


def test_regions_follow_what_moves():
    check_regions(regions_of_masks(some_masks()))
    meeting = np.zeros((3, 10, 20), np.uint8)
    meeting[0, :, :5] = meeting[0, :, 8:20] = 1
    meeting[1] = 1  # one region: it goes on as the larger of the two
    meeting[2, :, :5] = meeting[2, :, 8:20] = 1
    tracks = [names for _, names in regions_of_masks(meeting)]
    assert tracks == [[0, 1], [1], [2, 1]]


def test_avenue(tmp_path):
    video(tmp_path / "training_videos" / "01.avi")
    for name in ("01", "02", "10"):
        video(tmp_path / "testing_videos" / f"{name}.avi")
    marks = tmp_path / "ground_truth_demo" / "testing_label_mask"
    marks.mkdir(parents=True)
    cells = np.empty((1, 4), object)
    for number, mask in enumerate(some_masks()):
        cells[0, number] = mask
    for name in (1, 2, 10):
        savemat(marks / f"{name}_label.mat", {"volLabel": cells})
    assert [clip.name for clip in find_clips(tmp_path, "train")] == ["01"]
    clips = find_clips(tmp_path, "test")
    assert [clip.name for clip in clips] == ["01", "02", "10"]
    assert labels_of(clips[2]) == [0, 1, 1, 0]
    check_regions(clips[0].regions())
    assert {name for _, names in clips[0].regions() for name in names} == {("01", 0), ("01", 1)}
    savemat(marks / "2_label.mat", {"other": 1})
    with pytest.raises(UserError, match=r"2_label\.mat"):
        labels_of(clips[1])
    (marks / "10_label.mat").unlink()
    with pytest.raises(UserError, match=r"10_label\.mat"):
        find_clips(tmp_path, "test")


def test_shanghaitech(tmp_path):
    video(tmp_path / "training" / "videos" / "01_001.avi")
    for name in ("01_0014", "01_0015"):
        pictures(tmp_path / "testing" / "frames" / name, 4, "jpg")
        for kind, content in (("frame", np.array([0, 1, 1, 0])), ("pixel", some_masks())):
            (tmp_path / "testing" / f"test_{kind}_mask").mkdir(exist_ok=True)
            np.save(tmp_path / "testing" / f"test_{kind}_mask" / f"{name}.npy", content)
    assert [clip.name for clip in find_clips(tmp_path, "train")] == ["01_001"]
    clips = find_clips(tmp_path)
    assert [clip.name for clip in clips] == ["01_0014", "01_0015"]
    assert times_of(clips[0]) == pytest.approx(np.arange(4) / 24)
    assert labels_of(clips[1]) == [0, 1, 1, 0]
    check_regions(clips[1].regions())
    np.save(tmp_path / "testing" / "test_frame_mask" / "01_0014.npy", np.zeros(7))
    with pytest.raises(UserError, match="has 4 frames, but 7 labels"):
        labels_of(clips[0])


def test_ucsd(tmp_path):
    root = tmp_path / "UCSDped2"
    pictures(root / "Train" / "Train001", 3, "tif")
    for name in ("Test001", "Test002"):
        pictures(root / "Test" / name, 4, "tif")
    (root / "Test" / "Test002_gt").mkdir()
    for number, mask in enumerate(some_masks(), 1):
        cv2.imwrite(str(root / "Test" / "Test002_gt" / f"{number:03d}.bmp"), mask * 255)
    (root / "Test" / "UCSDped2.m").write_text(
        "% list\nTestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [1:2, 4:4];\n"
        "% TestVideoFile{end+1}.gt_frame = [1:1];\nTestVideoFile{end+1}.gt_frame = [2:3];\n"
    )
    assert [clip.name for clip in find_clips(root, "train")] == ["Train001"]
    first, second = find_clips(root, "test")
    assert (first.name, first.fps, first.regions()) == ("Test001", 10.0, None)
    assert labels_of(first) == [1, 1, 0, 1]
    assert labels_of(second) == [0, 1, 1, 0]
    check_regions(second.regions())
    pictures(root / "Test" / "Test003", 2, "tif")
    with pytest.raises(UserError, match=r"2 clips.* 3 clips"):
        find_clips(root, "test")


def test_a_folder_of_videos_and_frames_with_labels_of_each_kind(tmp_path):
    video(tmp_path / "b.avi")
    pictures(tmp_path / "a2", 4)
    pictures(tmp_path / "a10", 4)
    assert [(clip.name, clip.read_labels) for clip in find_clips(tmp_path)] == [
        ("a2", None),
        ("a10", None),
        ("b", None),
    ]
    rows = [[1, "bike", 2, 2, 8, 6], [2, "bike", 4, 3, 10, 7], [2, "car", 20, 15, 30, 20]]
    content = {"a2": [0, 0, 1, 1], "b.avi": {"labels": [0, 1, 1, 0], "boxes": rows, "seed": 1}}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    a2, a10, b = find_clips(tmp_path)
    assert labels_of(a2) == [0, 0, 1, 1]
    assert a10.labels(times_of(a10)) is None
    assert labels_of(b) == [0, 1, 1, 0]
    check_regions(b.regions())
    (tmp_path / "spans.csv").write_text("clip,start,end\na10,0.04,0.10\na10,0.12,9\nb,0.1,0.2\n")
    a2, a10, b = find_clips(tmp_path, labels=tmp_path / "spans.csv")
    assert labels_of(a2) == [0, 0, 0, 0]
    assert labels_of(a10) == [0, 1, 1, 1]
    assert labels_of(b) == [0, 1, 0, 0]


def test_one_video_and_one_folder_of_pictures_are_clips(tmp_path):
    video(tmp_path / "clip.avi")
    (tmp_path / "clip.json").write_text(json.dumps({"clip": [0, 1, 1, 0]}))
    (clip,) = find_clips(tmp_path / "clip.avi")
    assert labels_of(clip) == [0, 1, 1, 0]
    pictures(tmp_path / "frames", 2)
    assert [clip.name for clip in find_clips(tmp_path / "frames")] == ["frames"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.json", "[1, 2", "no JSON"),
        ("l.json", "[1, 2]", "object"),
        ("l.json", '{"clap": [0, 1]}', "did you mean 'clip'"),
        ("l.json", '{"clip": [0, 2]}', "0 and 1"),
        ("l.json", '{"clip": {"labels": [0, 1], "boxes": [[5, 1, 0, 0, 1, 1]]}}', "boxes"),
        ("l.json", '{"clip": {"labels": [0, 1], "boxes": [[0, 0, 1]]}}', "boxes"),
        ("l.csv", "name,from,to\nclip,1,2\n", "clip,start,end"),
        ("l.csv", "clip,start,end\nclip,2,1\n", "line 2"),
        ("l.csv", "clip,start,end\nclip,one,2\n", "line 2"),
    ],
)
def test_label_files_that_cannot_be_used_are_named(tmp_path, name, text, said):
    video(tmp_path / "clip.avi")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        find_clips(tmp_path, labels=tmp_path / name)
    assert name in str(caught.value)


def test_folders_without_clips_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_clips(tmp_path / "none")
    with pytest.raises(UserError, match="no videos"):
        find_clips(tmp_path)
    (tmp_path / "testing_videos").mkdir()
    with pytest.raises(UserError, match="no clips"):
        find_clips(tmp_path)


@pytest.mark.shared
def test_the_small_avenue_set(shared):
    root = shared / "data" / "avenue_mini"
    assert [clip.name for clip in find_clips(root, "train")] == ["10", "11", "12", "16"]
    clips = {clip.name: clip for clip in find_clips(root, "test")}
    odd = {name: int(np.sum(clip.read_labels(np.empty(0)))) for name, clip in clips.items()}
    assert odd == {"08": 36, "17": 384, "20": 154}
    regions = clips["20"].regions()
    assert [bool(len(boxes)) for boxes, _ in regions] == clips["20"].labels(np.arange(273) / 25).astype(bool).tolist()
