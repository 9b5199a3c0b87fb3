"""Measures of a method on labelled clips, as `tools/train.py`, `tools/test.py` and `tools/score_video.py` tell them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, METRICS
from torch.utils.data import Dataset
from tqdm import tqdm

from toolkit.errors import UserError
from toolkit.video.datasets import Clip, find_clips
from toolkit.video.fitting import load_scorer
from toolkit.video.metrics import Found, Truth, frame_scores, region_scores
from toolkit.video.scorer import VideoScores
from toolkit.video.scoring import MeasuredVideo


@dataclass(frozen=True)
class ScoredClip:
    """A labelled clip and what a method made of it.

    Attributes:
        name: of the clip.
        scores: (T,), NaN where a frame has none.
        labels: (T,), 0 normal, 1 odd.
        found: for each frame the boxes (N, 4) and scores (N,) of its regions.
        truth: for each frame the boxes and tracks of what is odd; None where nobody marked them.
    """

    name: str
    scores: np.ndarray
    labels: np.ndarray
    found: list[Found]
    truth: list[Truth] | None


@DATASETS.register_module()
class LabelledClips(Dataset):
    """The test clips of a set: dicts with a `clip`.

    Args:
        root: see `find_clips`, as are `labels`.
        labels: a label file where it does not lie in its usual place.

    Raises:
        UserError: see `find_clips`; or a clip has no labels.
    """

    metainfo: dict = {}  # mmengine asks for it

    def __init__(self, root: str | Path, labels: str | Path | None = None):
        self.clips = labelled_clips(root, labels)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Clip]:
        return {"clip": self.clips[index]}


def labelled_clips(root: str | Path, labels: str | Path | None = None) -> list[Clip]:
    """The test clips of a set, all of which must have labels; see `LabelledClips`."""
    clips = find_clips(root, "test", labels)
    for clip in clips:
        if clip.read_labels is None:
            raise UserError(f"{clip.source} has no labels; data/README.md says how a set of your own is laid out")
    return clips


def labelled(clip: Clip, scored: VideoScores) -> ScoredClip:
    """A clip's scores with its labels."""
    return ScoredClip(clip.name, scored.scores, clip.labels(scored.times), scored.found, clip.regions())


def measures(clips: Sequence[ScoredClip]) -> dict[str, float]:
    """All measures of scored clips; see `toolkit.video.metrics`. Those that the labels do not allow are NaN."""
    scores, labels, names = ([getattr(clip, key) for clip in clips] for key in ("scores", "labels", "name"))
    plain = frame_scores(scores, labels, names=names)
    scaled = frame_scores(scores, labels, per_clip=True, names=names)
    marked = [clip for clip in clips if clip.truth is not None]
    found, truth = ([row for clip in marked for row in getattr(clip, key)] for key in ("found", "truth"))
    rbdc, tbdc = region_scores(found, truth) if marked else (math.nan, math.nan)
    return {
        "micro_auc": plain.micro,
        "micro_auc_per_clip": scaled.micro,
        "macro_auc": plain.macro,
        "eer": plain.eer,
        "rbdc": rbdc,
        "tbdc": tbdc,
    }


@METRICS.register_module()
class FrameAUC(BaseMetric):
    """Frame AUC (micro, micro with each clip scaled to 0..1 first, macro), EER, RBDC and TBDC of `LabelledClips`."""

    default_prefix = "video"

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[VideoScores]) -> None:
        self.results += map(labelled, data_batch["clip"], data_samples)

    def compute_metrics(self, results: list[ScoredClip]) -> dict[str, float]:
        return measures(results)


def compare(
    root: str | Path, models: Sequence[Path], smooth_seconds: float | None, cache: Path, device: str | None = None
) -> list[dict[str, str | float]]:
    """Measures of fitted methods on a labelled set, a row for each and its variants.

    Args:
        root: see `LabelledClips`.
        models: see `load_scorer`.
        smooth_seconds: see `AnomalyScorer`; None for each model's own.
        cache: folder for what is measured.
        device: see `load_scorer`.

    Returns:
        Rows with `model`, `variant`, what `measures` gives, and `frames_per_second` of measuring, NaN where all was
        in the cache.
    """
    clips, rows = labelled_clips(root), []
    for path in models:
        fitted = load_scorer(path, device)
        for name, model in fitted.model.variants():
            began, scored, fresh = time.perf_counter(), [], 0
            for clip in tqdm(clips, desc=f"{path.stem} {name}".strip(), unit=" clips", disable=None, leave=False):
                measured = MeasuredVideo(model, clip.source, cache, fitted.key, clip.fps)
                fresh += measured.measure()
                scored.append(labelled(clip, model.judge(measured, smooth_seconds)))
            rate = fresh / (time.perf_counter() - began) if fresh else math.nan
            rows.append({"model": path.stem, "variant": name, **measures(scored), "frames_per_second": rate})
    return rows
