"""Clips and their labels: CUHK Avenue, ShanghaiTech Campus, UCSD Ped1 and Ped2 as published, and your own folders.

`find_clips(ROOT, "train" or "test")` tells the layouts apart by their folders:

- CUHK Avenue (Lu et al., ICCV 2013, https://doi.org/10.1109/ICCV.2013.338): `training_videos/*.avi`,
  `testing_videos/*.avi`; pixel masks `volLabel` in `ground_truth_demo/testing_label_mask/N_label.mat`.
- ShanghaiTech Campus (Luo et al., ICCV 2017, https://doi.org/10.1109/ICCV.2017.45): `training/videos/*.avi`,
  `testing/frames/CLIP/*.jpg`; `testing/test_frame_mask/CLIP.npy`, `testing/test_pixel_mask/CLIP.npy`.
- UCSD Ped1 and Ped2 (Mahadevan et al., CVPR 2010, https://doi.org/10.1109/CVPR.2010.5539872): `Train/TrainNNN/*.tif`,
  `Test/TestNNN/*.tif`; frames in `Test/UCSDpedN.m`, pixel masks `Test/TestNNN_gt/*.bmp` (in Ped1 of some clips).
- Your own: videos and folders of pictures in `train/` and `test/`, or without these in ROOT itself; labels in
  `SPLIT_labels.json` or `.csv`, for the test also `labels.json` or `.csv`; pixel masks, if any, as (T, H, W) array
  `masks` in `SPLIT_masks/CLIP.npz`, from which labels come too where no file has them.

A label file is JSON: for each clip's name (with or without its ending) the list of its frames' labels, 0 or 1; or an
object with such a list as `labels` and, where regions are known, `boxes`: rows [frame, track, x1, y1, x2, y2], frames
from 0. Or it is CSV with the columns clip, start, end: one odd stretch a line, in seconds; clips without a line are
normal.
"""

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from toolkit.data.images import read_image
from toolkit.errors import UserError, near, some
from toolkit.video.frames import find_pictures, find_videos, natural_key
from toolkit.video.metrics import Truth, box_iou

UCSD_RATE = 10.0  # frames per second of the published pictures
SHANGHAITECH_RATE = 24.0


@dataclass(frozen=True)
class Clip:
    """One clip of a set; what it names is read when it is asked for.

    Attributes:
        name: unique in its set.
        source: a video or a folder of pictures, for `open_video`.
        fps: frames per second of a folder of pictures where the set is known to have them; else None.
        read_labels: gives the (T,) labels, 0 or 1, for the (T,) times of the frames in seconds; None without labels.
        read_regions: gives for each frame the boxes and tracks of what is odd; None where nobody marked them.
    """

    name: str
    source: Path
    fps: float | None = None
    read_labels: Callable[[np.ndarray], np.ndarray] | None = None
    read_regions: Callable[[], list[Truth]] | None = None

    def labels(self, times: np.ndarray) -> np.ndarray | None:
        """(T,) uint8, 0 normal and 1 odd, for frames at `times` (T,) in seconds; None where the clip has no labels.

        Raises:
            UserError: the labels cannot be read, or are not as many as the frames.
        """
        if self.read_labels is None:
            return None
        labels = np.asarray(self.read_labels(times)).astype(bool).ravel().astype(np.uint8)
        if len(labels) != len(times):
            raise UserError(f"{self.source} has {len(times)} frames, but {len(labels)} labels")
        return labels

    def regions(self) -> list[Truth] | None:
        """For each frame the boxes (M, 4) of what is odd and the names of their tracks, unique in the set."""
        if self.read_regions is None:
            return None
        return [(boxes, [(self.name, track) for track in tracks]) for boxes, tracks in self.read_regions()]


def find_clips(root: str | Path, split: str = "test", labels: str | Path | None = None) -> list[Clip]:
    """The clips of one part of a set, in the order of the numbers in their names.

    Args:
        root: folder of the set; for the test of a set of your own also one video.
        split: "train" or "test".
        labels: label file for clips of your own, where it does not lie in its usual place.

    Raises:
        UserError: there is no such folder, it has no clips, or the label file does not fit them.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise UserError(f"{root} does not exist; give the folder of a video set")
    for folders, read in LAYOUTS:
        if labels is None and (root / folders[split]).is_dir():
            clips = read(root, split)
            if not clips:
                raise UserError(f"{root / folders[split]} has no clips")
            return clips
    return _folder(root, split, labels)


def regions_of_masks(masks: Iterable[np.ndarray]) -> list[Truth]:
    """Boxes and tracks of pixel masks, a frame each.

    A region is a connected part of a mask, diagonals included. It carries on the track of the region of the frame
    before whose box overlaps its own most (each is carried on once), or begins a new one.

    Args:
        masks: (H, W) of each frame, odd where not 0.
    """
    regions, tracks, last = [], 0, (np.empty((0, 4), np.float32), [])
    for mask in masks:
        _, _, stats, _ = cv2.connectedComponentsWithStats((np.asarray(mask) != 0).astype(np.uint8))
        x, y, width, height = stats[1:, :4].T.astype(np.float32)
        boxes = np.stack([x, y, x + width, y + height], 1)
        shared = box_iou(boxes, last[0])
        names: list[int | None] = [None] * len(boxes)
        while shared.size and shared.max() > 0:
            new, old = np.unravel_index(shared.argmax(), shared.shape)
            names[new] = last[1][old]
            shared[new], shared[:, old] = 0, 0
        for index, name in enumerate(names):
            if name is None:
                names[index], tracks = tracks, tracks + 1
        last = (boxes, names)
        regions.append(last)
    return regions


# --- published layouts ----------------------------------------------------------------------------------------------


def _avenue(root: Path, split: str) -> list[Clip]:
    videos = find_videos(root / ("training_videos" if split == "train" else "testing_videos"))
    if split == "train":
        return [Clip(video.stem, video) for video in videos]
    clips = []
    for video in videos:
        file = root / "ground_truth_demo" / "testing_label_mask" / f"{int(video.stem)}_label.mat"
        if not file.is_file():
            raise UserError(f"{file}: the labels of {video.name} are missing; they come as ground_truth_demo.zip")
        masks = partial(_avenue_masks, file)
        clips.append(Clip(video.stem, video, None, partial(_any_pixel, masks), partial(_regions, masks)))
    return clips


def _avenue_masks(file: Path) -> Sequence[np.ndarray]:
    from scipy.io import loadmat

    try:
        return list(loadmat(file)["volLabel"].ravel())
    except (KeyError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"{file} is no label file of Avenue: it lacks 'volLabel' or is damaged") from error


def _shanghaitech(root: Path, split: str) -> list[Clip]:
    part = root / ("training" if split == "train" else "testing")
    sources = find_videos(part / "videos") if (part / "videos").is_dir() else []
    sources = sources or _folders_of_pictures(part / "frames")
    clips = []
    for source in sources:
        name = source.stem if source.is_file() else source.name
        frames, pixels = part / "test_frame_mask" / f"{name}.npy", part / "test_pixel_mask" / f"{name}.npy"
        if split == "test" and not frames.is_file():
            raise UserError(f"{frames}: the labels of {name} are missing")
        read_labels = partial(_array_labels, frames) if split == "test" else None
        read_regions = partial(_regions, partial(_array, pixels)) if pixels.is_file() else None
        clips.append(Clip(name, source, SHANGHAITECH_RATE, read_labels, read_regions))
    return clips


def _ucsd(root: Path, split: str) -> list[Clip]:
    folders = [folder for folder in _folders_of_pictures(root / split.title()) if not folder.name.endswith("_gt")]
    if split == "train":
        return [Clip(folder.name, folder, UCSD_RATE) for folder in folders]
    files = sorted((root / "Test").glob("[Uu][Cc][Ss][Dd]*.m"))
    if not files:
        raise UserError(f"{root / 'Test'} lacks UCSDped1.m or UCSDped2.m with the labels of its frames")
    text = files[0].read_text(encoding="utf-8", errors="replace")
    lines = [line.split("%")[0] for line in text.splitlines()]
    spans = [match[1] for line in lines for match in re.finditer(r"gt_frame\s*=\s*\[([^\]]*)\]", line)]
    if len(spans) != len(folders):
        raise UserError(f"{files[0]} has labels of {len(spans)} clips, {root / 'Test'} has {len(folders)} clips")
    clips = []
    for folder, span in zip(folders, spans, strict=True):
        marked = folder.with_name(f"{folder.name}_gt")
        read_regions = partial(_regions, partial(_picture_masks, marked)) if marked.is_dir() else None
        clips.append(Clip(folder.name, folder, UCSD_RATE, partial(_ucsd_labels, files[0], span), read_regions))
    return clips


def _ucsd_labels(file: Path, span: str, times: np.ndarray) -> np.ndarray:
    """The labels that `60:152, 160` or the like gives, in frames from 1."""
    labels = np.zeros(len(times), np.uint8)
    for part in re.split(r"[,;\s]+", span.strip()):
        first, _, last = part.partition(":")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise UserError(f"{file}: {part!r} is no range of frames such as 60:152")
        labels[int(first) - 1 : int(last or first)] = 1
    return labels


def _picture_masks(folder: Path) -> list[np.ndarray]:
    return [read_image(file).max(2) for file in find_pictures(folder)]


# The folder of each part, by which a layout is known.
LAYOUTS = (
    ({"train": "training_videos", "test": "testing_videos"}, _avenue),
    ({"train": "training", "test": "testing"}, _shanghaitech),
    ({"train": "Train/Train001", "test": "Test/Test001"}, _ucsd),
)


# --- folders --------------------------------------------------------------------------------------------------------


def _folder(root: Path, split: str, labels: str | Path | None) -> list[Clip]:
    place = root / split if (root / split).is_dir() else root
    if place == root and split == "train" and (root / "test").is_dir():
        raise UserError(f"{root} has a folder test/ but no train/; name the folder of normal clips")
    sources = [place] if place.is_file() or find_pictures(place) else _clips_in(place)
    if not sources:
        raise UserError(f"{place} holds no videos and no folders of pictures")
    names = {(source.name if source.is_dir() else source.stem): source for source in sources}
    if len(names) < len(sources):
        names = {source.name: source for source in sources}  # a.avi beside a.mp4
    readers = _readers(_label_file(root, split, labels), names)
    clips = []
    for name, source in names.items():
        read_labels, read_regions = readers.get(name, (None, None))
        masks = root / f"{split}_masks" / f"{name}.npz"
        if masks.is_file():
            read_masks = partial(_npz_masks, masks)
            read_labels = read_labels or partial(_any_pixel, read_masks)
            read_regions = partial(_regions, read_masks)
        clips.append(Clip(name, source, None, read_labels, read_regions))
    return clips


def _clips_in(place: Path) -> list[Path]:
    return sorted([*find_videos(place), *_folders_of_pictures(place)], key=natural_key)


def _folders_of_pictures(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    folders = (folder for folder in place.iterdir() if folder.is_dir() and folder.name[0] != ".")
    return sorted((folder for folder in folders if find_pictures(folder)), key=natural_key)


def _label_file(root: Path, split: str, given: str | Path | None) -> Path | None:
    if given is not None:
        return Path(given).expanduser()
    if root.is_file():
        usual = [root.with_suffix(".json"), root.with_suffix(".csv")]
    else:
        usual = [root / name for name in (f"{split}_labels.json", f"{split}_labels.csv")]
        usual += [root / "labels.json", root / "labels.csv"] if split == "test" else []
    return next((path for path in usual if path.is_file()), None)


def _readers(file: Path | None, names: dict[str, Path]) -> dict[str, tuple[Callable, Callable | None]]:
    """By clip, its `read_labels` and `read_regions`.

    Raises:
        UserError: see `find_clips`.
    """
    if file is None:
        return {}
    if file.suffix.lower() == ".csv":
        spans = _read_csv(file)
        found = {_clip_named(key, names, file): value for key, value in spans.items()}
        return {name: (partial(_span_labels, found.get(name, ())), None) for name in names}
    return {_clip_named(key, names, file): _entry(file, key, value) for key, value in _read_json(file).items()}


def _clip_named(key: str, names: dict[str, Path], file: Path) -> str:
    for name, source in names.items():
        if key in (name, source.name):
            return name
    raise UserError(f"{file}: there is no clip {key!r}{near(key, names)}; there are {some(names)}")


def _read_json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f'{file}: give an object such as {{"clip": [0, 0, 1, ...]}}')
    return content


def _entry(file: Path, name: str, value: list | dict) -> tuple[Callable, Callable | None]:
    labels = value.get("labels") if isinstance(value, dict) else value
    if not isinstance(labels, list) or any(label not in (0, 1) for label in labels):
        raise UserError(f"{file}: the labels of {name!r} are no list of 0 and 1, one a frame")
    boxes = value.get("boxes") if isinstance(value, dict) else None
    if boxes is None:
        return partial(_listed, labels), None
    numbers = np.array(boxes, dtype=object).reshape(-1, 6) if boxes and _is_table(boxes) else np.empty((0, 6), object)
    if len(numbers) != len(boxes) or any(not 0 <= row[0] < len(labels) for row in numbers):
        raise UserError(f"{file}: the boxes of {name!r} are no rows [frame, track, x1, y1, x2, y2] with its frames")
    return partial(_listed, labels), partial(_listed_regions, numbers, len(labels))


def _is_table(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, list) and len(row) == 6 for row in rows)


def _read_csv(file: Path) -> dict[str, list[tuple[float, float]]]:
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        if not {"clip", "start", "end"} <= set(table.fieldnames or ()):
            raise UserError(f"{file}: the first line must name the columns clip,start,end (seconds)")
        for row in table:
            try:
                start, end = float(row["start"]), float(row["end"])
            except (TypeError, ValueError):
                start = end = math.nan
            if not start < end:
                raise UserError(f"{file}, line {table.line_num}: start and end must be seconds, start before end")
            spans[row["clip"].strip()].append((start, end))
    return spans


def _listed(labels: list[int], times: np.ndarray) -> np.ndarray:
    return np.asarray(labels, np.uint8)


def _listed_regions(rows: np.ndarray, count: int) -> list[Truth]:
    regions = []
    for number in range(count):
        here = rows[[row[0] == number for row in rows]] if len(rows) else rows
        regions.append((here[:, 2:].astype(np.float32), here[:, 1].tolist()))
    return regions


def _span_labels(spans: Sequence[tuple[float, float]], times: np.ndarray) -> np.ndarray:
    labels = np.zeros(len(times), np.uint8)
    for start, end in spans:
        labels[(times >= start) & (times < end)] = 1
    return labels


# --- masks ----------------------------------------------------------------------------------------------------------


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{file} is no array of labels: {error}") from error


def _array_labels(file: Path, times: np.ndarray) -> np.ndarray:
    return _array(file)


def _npz_masks(file: Path) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as content:
            return content["masks"]
    except (KeyError, ValueError, EOFError) as error:
        raise UserError(f"{file} holds no array 'masks' (T, H, W)") from error


def _any_pixel(read_masks: Callable[[], Iterable[np.ndarray]], times: np.ndarray) -> np.ndarray:
    return np.array([np.any(mask) for mask in read_masks()], np.uint8)


def _regions(read_masks: Callable[[], Iterable[np.ndarray]]) -> list[Truth]:
    return regions_of_masks(read_masks())
