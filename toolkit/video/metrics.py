"""Measures of video anomaly scores: per frame AUC and EER, per region RBDC and TBDC.

Frame AUC is the area under the ROC curve over frames, as it is used since Mahadevan et al., Anomaly Detection in
Crowded Scenes, CVPR 2010, https://doi.org/10.1109/CVPR.2010.5539872. Papers differ in how clips are joined:

- micro: all frames of all clips are one list (Liu et al., Future Frame Prediction for Anomaly Detection, CVPR 2018,
  arXiv 1712.09867, after scaling each clip to 0..1; STATE and VEC without scaling);
- macro: the mean of the clips' own AUCs (Ionescu et al., Object-Centric Auto-Encoders and Dummy Anomalies for Abnormal
  Event Detection in Video, CVPR 2019, arXiv 1812.04960; both names from Georgescu et al., A Background-Agnostic
  Framework with Adversarial Training for Abnormal Event Detection in Video, TPAMI 2021, arXiv 2008.12328). A clip with
  one kind of frame alone has no AUC and is left out.

RBDC and TBDC are from Ramachandra and Jones, Street Scene: A New Dataset and Evaluation Protocol for Video Anomaly
Detection, WACV 2020, arXiv 1902.05872.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import UserError

NO_OBJECT = -100000.0  # STATE's and VEC's score of a frame without objects
OVERLAP = 0.1  # the beta of RBDC and TBDC: intersection over union at which a region is detected
TRACK_SHARE = 0.1  # the alpha of TBDC: share of its regions at which a track is detected

Found = tuple[np.ndarray, np.ndarray]  # boxes (N, 4) and scores (N,) of a frame
Truth = tuple[np.ndarray, Sequence[Hashable]]  # boxes (M, 4) of a frame and the tracks (M,) that they belong to


@dataclass(frozen=True)
class FrameScores:
    """What `frame_scores` measured. A figure that the labels do not allow is NaN.

    Attributes:
        micro: AUC over all frames together.
        macro: mean AUC of the clips that have both kinds of frames.
        eer: equal error rate over all frames together.
        clips: how many clips macro averages.
        left_out: how many clips it leaves out, because they have one kind of frame alone.
        unscored: frames without a score (NaN), which count nowhere.
    """

    micro: float
    macro: float
    eer: float
    clips: int
    left_out: int
    unscored: int


def frame_scores(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], per_clip: bool = False, names: Sequence[str] = ()
) -> FrameScores:
    """Micro and macro frame AUC and EER.

    Args:
        scores: (T,) of each clip, higher is odder, NaN where a frame has none.
        labels: (T,) of each clip, 0 normal, 1 odd.
        per_clip: scale each clip's scores to 0..1 first, see `normalise`. Macro is the same either way.
        names: of the clips, for errors.

    Raises:
        UserError: a clip has another number of labels than scores.
    """
    names = names or [f"clip {number}" for number in range(len(scores))]
    kept, unscored = [], 0
    for name, values, marks in zip(names, scores, labels, strict=True):
        values, marks = np.asarray(values, np.float64), np.asarray(marks).astype(bool)
        if values.shape != marks.shape:
            raise UserError(f"{name} has {marks.size} labels for {values.size} frames")
        there = ~np.isnan(values)
        unscored += int((~there).sum())
        values = values[there]
        kept.append((normalise(values) if per_clip else values, marks[there]))
    own = [roc_auc(values, marks) for values, marks in kept]
    usable = [area for area in own if not math.isnan(area)]
    together = [np.concatenate(part) if kept else np.empty(0) for part in zip(*kept, strict=True)] or [np.empty(0)] * 2
    return FrameScores(
        micro=roc_auc(*together),
        macro=float(np.mean(usable)) if usable else math.nan,
        eer=equal_error_rate(*together),
        clips=len(usable),
        left_out=len(own) - len(usable),
        unscored=unscored,
    )


def normalise(scores: np.ndarray) -> np.ndarray:
    """(T,) scaled so that the least is 0 and the greatest 1; 0 everywhere when all are equal; NaN stays.

    Frames without objects (`NO_OBJECT`) become 0 and do not count as the least.
    """
    scores = np.asarray(scores, np.float64)
    real = scores[scores > NO_OBJECT]  # NaN is not greater
    low, high = (real.min(), real.max()) if real.size else (0.0, 0.0)
    return np.clip((scores - low) / ((high - low) or 1.0), 0.0, 1.0)


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that an odd frame scores higher than a normal one, ties counting half; NaN without frames of both kinds.

    Args:
        scores: (T,), without NaN.
        labels: (T,) of 0 and 1.
    """
    false, true = roc_curve(scores, labels)
    return float(np.trapezoid(true, false))


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of odd frames missed where it equals the share of normal frames reported, on the ROC's straight lines.

    Args and NaN: see `roc_auc`.
    """
    false, true = roc_curve(scores, labels)
    if math.isnan(false[0]):
        return math.nan
    gap = false - (1 - true)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(false[before] + share * (false[after] - false[before]))


def roc_curve(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of normal and of odd frames that score at least each threshold, from (0, 0) to (1, 1).

    Equal scores make one point. NaN without frames of both kinds.
    """
    labels = np.asarray(labels).astype(bool)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    values, marks = np.asarray(scores, np.float64)[order], labels[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if values.size else np.empty(0, int)
    odd, normal = marks.sum(), (~marks).sum()
    if not odd or not normal:
        return np.full(2, np.nan), np.full(2, np.nan)
    true = np.concatenate([[0], np.cumsum(marks)[last]]) / odd
    false = np.concatenate([[0], np.cumsum(~marks)[last]]) / normal
    return false, true


# --- regions --------------------------------------------------------------------------------------------------------


def region_scores(found: Sequence[Found], truth: Sequence[Truth]) -> tuple[float, float]:
    """RBDC and TBDC: detection rates over false regions per frame, area from 0 to 1 false region a frame.

    At a threshold the found regions are those that score at least as much. A true region is detected when one of
    them has an intersection over union of at least OVERLAP with it; a track is when at least TRACK_SHARE of its
    regions are. A found region that reaches OVERLAP with no true region of its frame is false. RBDC integrates the
    share of true regions detected, TBDC that of tracks; points of the curve, one for each score, are joined by straight
    lines, and beyond the last one the rate stays.

    Args:
        found: boxes (N, 4) x1, y1, x2, y2 and scores (N,) of each frame of all clips.
        truth: boxes (M, 4) and tracks of each of these frames; a track's name is unique over all clips.

    Returns:
        (RBDC, TBDC), both in 0..1; NaN without true regions.

    Raises:
        ValueError: the two have different numbers of frames.
    """
    best: list[float] = []  # for each true region, the highest score that detects it
    tracks: dict[Hashable, list[float]] = defaultdict(list)
    false: list[float] = []
    for (boxes, scores), (true_boxes, names) in zip(found, truth, strict=True):
        scores = np.asarray(scores, np.float64)
        hits = box_iou(true_boxes, boxes) >= OVERLAP  # (M, N)
        false += scores[~hits.any(0)].tolist()
        for name, hit in zip(names, hits, strict=True):
            best.append(max(scores[hit], default=-math.inf))
            tracks[name].append(best[-1])
    if not best:
        return math.nan, math.nan
    whole = [sorted(values)[-math.ceil(TRACK_SHARE * len(values) - 1e-9)] for values in tracks.values()]
    return tuple(_detection_area(np.array(rate), np.array(false), len(found)) for rate in (best, whole))


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (M, 4) and (N, 4) as (M, N)."""
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (first, second))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1)[None] - shared
    return shared / np.maximum(union, 1e-12)


def _detection_area(detected_at: np.ndarray, false: np.ndarray, frames: int) -> float:
    """Area under the share of `detected_at` (K,) over the number of `false` (N,) a frame, up to 1 a frame."""
    thresholds = np.unique(np.concatenate([detected_at[np.isfinite(detected_at)], false]))[::-1]
    reached, wrong = np.sort(detected_at), np.sort(false)
    rate = 1 - np.searchsorted(reached, thresholds) / len(reached)
    alarms = (len(wrong) - np.searchsorted(wrong, thresholds)) / frames
    rate, alarms = np.append(0, rate), np.append(0, alarms)
    if alarms[-1] < 1:
        rate, alarms = np.append(rate, rate[-1]), np.append(alarms, 1.0)
    beyond = int(np.argmax(alarms >= 1))
    # with equal abscissas np.interp would take the last; the line to the first point at or beyond 1 is wanted
    step = alarms[beyond] - alarms[beyond - 1]
    end = rate[beyond - 1] + (rate[beyond] - rate[beyond - 1]) * (1 - alarms[beyond - 1]) / step
    return float(np.trapezoid(np.append(rate[:beyond], end), np.append(alarms[:beyond], 1.0)))
