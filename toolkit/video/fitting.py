"""From normal footage to a file that scores any other: training, statistics, and how high normal frames score."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from tqdm import tqdm

from toolkit.checkpoint import load_checkpoint, load_into, save_checkpoint
from toolkit.config import config_errors, set_scope
from toolkit.engine.setup import add_defaults, build_runner, last_checkpoint, make_work_dir
from toolkit.errors import UserError
from toolkit.inference import config_of_checkpoint, find_device
from toolkit.video.cache import content_key
from toolkit.video.frames import open_video
from toolkit.video.samples import is_held_out, normal_clips
from toolkit.video.scorer import SEGMENT, AnomalyScorer, Regions, measure_segments, segments
from toolkit.video.timeline import smooth

MOST_NORMAL = 60  # segments from which the scores of normal frames are taken


@dataclass(frozen=True)
class FittedScorer:
    """A method that has learnt what is normal.

    Attributes:
        model: in eval mode.
        normal_scores: of frames of normal footage that were not learnt from, an array for each stretch of them.
        unseen: whether these frames were not learnt from, which takes more than 320 of them in all.
        heat_limit: the most that a pixel of these frames' pictures of errors has; NaN where it is not known.
        key: a digest by which the file is known.
    """

    model: AnomalyScorer
    normal_scores: list[np.ndarray]
    unseen: bool
    heat_limit: float
    key: str

    def threshold(self, quantile: float, window: int) -> float:
        """The score below which a share `quantile` of normal frames lie, smoothed in a window of so many frames.

        Raises:
            UserError: the file holds no scores of normal frames.
        """
        scores = np.concatenate([smooth(part, window) for part in self.normal_scores] or [np.empty(0)])
        scores = scores[~np.isnan(scores)]
        if not scores.size:
            raise UserError("the model holds no scores of normal footage; give --threshold, or make it with `fit`")
        return float(np.quantile(scores, quantile))


def load_scorer(path: str | Path, device: str | None = None) -> FittedScorer:
    """Read what `fit_scorer` or `tools/train.py` wrote; no code in it is run.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    place = find_device(device)
    config = config_of_checkpoint(path)
    with config_errors(config):
        model = MODELS.build(config.model)
    if not isinstance(model, AnomalyScorer):
        raise UserError(f"{path} is a {type(model).__name__}, not a model of `score_video.py fit`")
    learnt = bool(model.state_dict())  # a baseline has nothing to load
    meta = load_into(model, path).meta if learnt else load_checkpoint(path).get("meta", {})
    normal = [np.array(part, np.float64) for part in meta.get("normal_scores") or ()]
    key = hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    unseen, heat_limit = bool(meta.get("unseen")), float(meta.get("heat_limit", np.nan))
    return FittedScorer(model.to(place).eval(), normal, unseen, heat_limit, key)


def fit_scorer(
    config: Config,
    sources: Sequence[str | Path],
    out: Path,
    work_dir: Path,
    checkpoint: str | None = None,
    device: str | None = None,
    unsafe: bool = False,
) -> FittedScorer:
    """Learn from normal footage and write the result to `out`; goes on where an earlier call was cut off.

    A sixth of the footage is not learnt from: it tells how high unseen normal frames score.

    Args:
        config: a shipped config of a method; its data sets are replaced.
        sources: see `SegmentSamples`.
        out: file to write.
        work_dir: for what is prepared and the state of the training.
        checkpoint: weights, the authors' own for instance: nothing is trained, only statistics are taken.
        device: see `toolkit.load_model`.
        unsafe: see `toolkit.checkpoint.load_checkpoint`.

    Raises:
        UserError: see `SegmentSamples` and `load_into`; or too short footage.
    """
    make_work_dir(work_dir)
    _check_work(work_dir, config, sources, checkpoint)
    learns = "train_dataloader" in config
    if learns:
        data = config.train_dataloader["dataset"]
        data.update(sources=[str(source) for source in sources], cache=str(work_dir / "cache"), part="learn")
        if "extractor" in data:
            data["extractor"] = config.model.extractor
    if learns and checkpoint is None:
        model = _train(config, work_dir, unsafe)
    else:
        set_scope("mmengine")
        with config_errors(config):
            model = MODELS.build(config.model)
            if checkpoint is not None:
                load_into(getattr(model, "network", model), checkpoint, unsafe)
            if learns and hasattr(model, "learn_statistics"):
                model = model.to(find_device(device))
                model.learn_statistics(DATASETS.build(data))
    model = model.to(find_device(device)).eval()
    normal, unseen = measure_normal(model, sources)
    scores = [[model.frame_score(one) for one in part] for part in normal]
    if np.isnan([score for part in scores for score in part]).all():
        raise UserError(f"{sources[0]}: too short, a frame needs {model.warm_up} before it; give more normal footage")
    heat = max((float(one.heat.max(initial=0)) for part in normal for one in part if one is not None), default=0.0)
    meta = {"cfg": config.pretty_text, "normal_scores": scores, "unseen": unseen, "heat_limit": heat}
    save_checkpoint({"meta": meta, "state_dict": model.state_dict()}, out)
    return load_scorer(out, device)


def _check_work(work_dir: Path, config: Config, sources: Sequence[str | Path], checkpoint: str | None) -> None:
    """Note what the work in `work_dir` is of, and refuse to go on with that of something else."""
    footage = [content_key(clip.source) for clip in normal_clips(sources)]
    told = hashlib.sha256(json.dumps([config.pretty_text, footage, checkpoint]).encode()).hexdigest()
    note = work_dir / "of"
    if note.exists() and note.read_text() != told:
        raise UserError(
            f"{work_dir}: holds unfinished work of another fit; remove it with --force, or give another --work-dir"
        )
    note.write_text(told)


def _train(config: Config, work_dir: Path, unsafe: bool) -> AnomalyScorer:
    for key in ("val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"):
        config.pop(key, None)
    config.train_cfg.pop("val_interval", None)
    config.default_hooks.get("checkpoint", {}).pop("save_best", None)
    config.work_dir = str(work_dir / "training")
    add_defaults(config, None)
    last = last_checkpoint(work_dir / "training")
    if last is not None:
        config.resume, config.load_from = True, str(last)
    runner = build_runner(config, unsafe)
    model = runner.train()
    for key in ("resume", "load_from"):
        config.pop(key, None)
    return getattr(model, "module", model)


def measure_normal(model: AnomalyScorer, sources: Sequence[str | Path]) -> tuple[list[list[Regions | None]], bool]:
    """Regions of the frames of held-out segments of normal footage, of all segments where it is too short for any.

    Returns:
        Regions of the frames of each segment; and whether the segments are held-out ones.
    """
    numbers = range(sum(_count_segments(clip.source, clip.fps) for clip in normal_clips(sources)))
    held_out = list(filter(is_held_out, numbers))
    chosen = held_out or list(numbers)
    chosen = set(chosen[:: -(-len(chosen) // MOST_NORMAL)])
    measured, start = [], 0
    with tqdm(total=len(chosen) * SEGMENT, desc="normal frames", unit=" frames", disable=None) as progress:
        for clip in normal_clips(sources):
            with open_video(clip.source, clip.fps) as video:
                for segment in segments(video, SEGMENT, model.before, model.after, model.max_side):
                    if segment.number + start in chosen:
                        ((_, found),) = measure_segments(model, [segment])
                        measured.append(found)
                        progress.update(len(found))
                start += segment.number + 1
    return measured, bool(held_out)


def _count_segments(source: str | Path, fps: float | None) -> int:
    with open_video(source, fps) as video:
        return -(-sum(1 for _ in video) // SEGMENT)
