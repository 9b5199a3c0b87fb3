"""Learn from normal videos what is normal; say when and where another video is not."""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.commands._shared import check_out, write_figures
from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.video.datasets import Clip
    from toolkit.video.fitting import FittedScorer
    from toolkit.video.timeline import Scored

EXAMPLES = """examples:
  python tools/score_video.py fit monday.mp4 tuesday.mp4 -o camera.pth       learn what is normal there
  python tools/score_video.py fit monday.mp4 -o camera.pth --detector yolo_ms_xs_80e_bccd best.pth
  python tools/score_video.py fit monday.mp4 -o camera.pth --cfg-options model.extractor.flow.type=RAFT \\
      model.extractor.flow.checkpoint=raft_small_C_T_V2-01064c6d.pth         another optical flow than OpenCV's DIS
  python tools/score_video.py score wednesday.mp4 --model camera.pth -o found
  python tools/score_video.py score recordings/ --model camera.pth -o found --quantile 0.999 --heat-map
  python tools/score_video.py score rtsp://camera/stream --model camera.pth  events as JSON lines, until Ctrl-C
  python tools/score_video.py score 0 --model camera.pth -o webcam           the first webcam, scores kept too
  python tools/score_video.py evaluate data/avenue --model camera.pth other.pth -o table.csv

For every video, OUT/NAME holds scores.csv and scores.json (score and smoothed score of each frame, events),
timeline.png (curve, events, key frames) and annotated.mp4 (with the sound). A video is a file or a folder of pictures;
a folder of videos stands for all in it. `fit` and `score` go on where they were cut off. Methods for --config:
video/state_small (objects; fast), video/state_avenue, video/state_shanghaitech (objects; as published),
video/ctd2gan_avenue (whole frames), video/frame_difference (learns nothing).
"""
LIVE_LENGTH = 8  # frames that a live source is looked at together


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="fit | score | evaluate")
    fit = commands.add_parser("fit", help="learn from normal footage")
    fit.add_argument("normal", nargs="+", metavar="NORMAL", help="videos, folders of pictures or of videos")
    fit.add_argument("-o", "--out", type=Path, required=True, metavar="MODEL", help="file to write, .pth")
    fit.add_argument("--config", default="video/state_small", help="method and its settings (video/state_small)")
    fit.add_argument("--checkpoint", metavar="FILE", help="weights that are trained already, the authors' for instance")
    fit.add_argument("--detector", nargs="+", metavar="FILE", help="[CONFIG] CHECKPOINT of a detector of objects")
    fit.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override keys of the configuration")
    fit.add_argument("--work-dir", type=Path, help="for unfinished work (MODEL.fit, removed at the end)")
    fit.add_argument("--unsafe-checkpoint", action="store_true", help="load a trusted checkpoint that holds code")
    score = commands.add_parser("score", help="score videos")
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="files, folders, a webcam's number or rtsp://...")
    score.add_argument("--model", type=Path, required=True, help="what `fit` or tools/train.py wrote")
    score.add_argument("-o", "--out", type=Path, help="folder for the results (needed but for live sources)")
    score.add_argument(
        "--quantile", type=float, default=0.995, help="share of normal frames below the threshold (0.995)"
    )
    score.add_argument("--threshold", type=float, help="least score of an odd frame, instead of --quantile")
    score.add_argument("--smooth", type=float, metavar="SECONDS", help="average scores over so long (the model's own)")
    score.add_argument("--min-gap", type=float, default=0.5, help="seconds between two events at least (0.5)")
    score.add_argument("--min-length", type=float, default=0.2, help="seconds of an event at least (0.2)")
    score.add_argument("--no-perturb", action="store_true", help="skip the step before scoring: faster, less exact")
    score.add_argument("--no-video", action="store_true", help="write no annotated.mp4")
    score.add_argument("--heat-map", action="store_true", help="show in annotated.mp4 where the errors are")
    score.add_argument("--cache", type=Path, help="for what is measured (OUT/cache)")
    score.add_argument("--fps", type=float, help="frames per second of folders of pictures (25)")
    score.add_argument("--duration", type=float, help="seconds after which to leave a live source")
    evaluate = commands.add_parser("evaluate", help="measure on a labelled set")
    evaluate.add_argument("set", metavar="SET", help="root of a labelled set, see data/README.md")
    evaluate.add_argument("--model", type=Path, nargs="+", required=True, help="what `fit` or tools/train.py wrote")
    evaluate.add_argument("-o", "--out", type=Path, help="write the table to this CSV file")
    evaluate.add_argument(
        "--smooth", type=float, metavar="SECONDS", help="average scores over so long (the model's own)"
    )
    evaluate.add_argument("--cache", type=Path, default=Path("work_dirs/cache"), help="for what is measured")
    for command in (fit, score, evaluate):
        command.epilog, command.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
        command.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
        command.add_argument("--force", action="store_true", help="replace earlier results")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    return {"fit": fit, "score": score, "evaluate": evaluate}[args.command](args)


# --- fit ------------------------------------------------------------------------------------------------------------


def fit(args: argparse.Namespace) -> int:
    if args.out.suffix != ".pth":
        raise UserError(f"--out {args.out}: a model's file ends in .pth")
    if args.out.exists() and not args.force:
        raise UserError(f"{args.out}: exists already; --force replaces it")
    from toolkit.engine.setup import choose_device, last_checkpoint

    choose_device(args.device)
    from toolkit.config import load_config
    from toolkit.video.fitting import fit_scorer
    from toolkit.video.samples import normal_clips

    config = load_config(args.config, args.cfg_options)
    if args.detector:
        use_detector(config, args.detector)
    elif "extractor" in config.model and "detector" not in config.model.extractor:
        print("objects are found by their motion alone; --detector adds what a detector finds")
    normal_clips(args.normal)  # for its errors
    began = time.perf_counter()
    work_dir = args.work_dir or args.out.with_suffix(".fit")
    if args.force:
        clear_work(work_dir)
    last = last_checkpoint(work_dir / "training")
    if last is not None:
        print(f"going on from {last}")
    fitted = fit_scorer(config, args.normal, args.out, work_dir, args.checkpoint, args.device, args.unsafe_checkpoint)
    if args.work_dir is None:
        clear_work(work_dir)
    frames = sum(map(len, fitted.normal_scores))
    print(f"{args.out}: {type(fitted.model).__name__}, {time.perf_counter() - began:.0f} s")
    if not fitted.unseen:
        print("warning: so little footage that the threshold is taken from what was learnt from", file=sys.stderr)
    print(f"99.5 % of {frames} normal frames score below {fitted.threshold(0.995, 1):.3g}")
    return 0


def clear_work(work_dir: Path) -> None:
    """Remove what `fit_scorer` made in `work_dir`, and the folder where nothing else is in it."""
    import shutil
    from contextlib import suppress

    for name in ("cache", "training"):
        shutil.rmtree(work_dir / name, ignore_errors=True)
    (work_dir / "of").unlink(missing_ok=True)
    with suppress(OSError):
        work_dir.rmdir()


def use_detector(config: Any, names: list[str]) -> None:
    """Have a config of objects look for them with a detector."""
    if "extractor" not in config.model:
        raise UserError(f"--detector: {config.filename} looks at whole frames, not at objects")
    if len(names) > 2:
        raise UserError(f"--detector: give [CONFIG] CHECKPOINT, not {len(names)} files")
    names = [str(Path(name).resolve()) if Path(name).exists() else name for name in names]
    config.model.extractor["detector"] = dict(config=names[0], checkpoint=names[1] if len(names) > 1 else None)


# --- score ----------------------------------------------------------------------------------------------------------


def score(args: argparse.Namespace) -> int:
    from toolkit.engine.setup import choose_device

    check_numbers(args)
    choose_device(args.device)
    from toolkit.video.fitting import load_scorer

    live = [name for name in args.videos if is_live(name)]
    if live and len(args.videos) > 1:
        raise UserError(f"{live[0]} is a live source and goes alone")
    jobs = [] if live else find_jobs(args)
    fitted = load_scorer(args.model, args.device)
    if args.heat_map and math.isnan(fitted.heat_limit):
        raise UserError(f"--heat-map: {args.model} holds no errors of normal footage; make it with `fit`")
    if args.no_perturb:
        if not hasattr(fitted.model, "epsilon"):
            raise UserError(f"--no-perturb: {args.model} is a {type(fitted.model).__name__}, which takes no such step")
        fitted.model.epsilon = 0.0
    if live:
        return score_live(fitted, live[0], args)
    broken = []
    for name, clip in jobs:
        try:
            score_one(fitted, name, clip, args)
        except UserError as error:
            if len(jobs) == 1:
                raise
            broken.append(str(error))
            print(f"error: {error}", file=sys.stderr)
    if broken:
        print(f"{len(broken)} of {len(jobs)} videos could not be scored:", *broken, sep="\n  ", file=sys.stderr)
    return 1 if broken else 0


def check_numbers(args: argparse.Namespace) -> None:
    if not 0 < args.quantile <= 1:
        raise UserError(f"--quantile {args.quantile}: give a share above 0 and up to 1")
    for name in ("smooth", "min_gap", "min_length", "fps", "duration"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value}: give seconds, 0 or more")


def is_live(name: str) -> bool:
    from toolkit.video.frames import LIVE_SCHEMES

    return not Path(name).exists() and (name.isdecimal() or name.partition("://")[0].lower() in LIVE_SCHEMES)


def find_jobs(args: argparse.Namespace) -> list[tuple[str, "Clip"]]:
    """Names of results, each once, and the videos."""
    from toolkit.video.datasets import find_clips

    if args.out is None:
        raise UserError("--out: give a folder for the results")
    clips = [clip for source in args.videos for clip in find_clips(source, "test")]
    jobs: dict[str, Clip] = {}
    for clip in clips:
        name, number = clip.name, 2
        while name in jobs:
            name, number = f"{clip.name}_{number}", number + 1
        jobs[name] = clip
    for name in jobs:
        if (args.out / name / "scores.json").exists() and not args.force:
            raise UserError(f"{args.out / name}: holds results already; --force replaces them")
    return list(jobs.items())


def score_one(fitted: "FittedScorer", name: str, clip: "Clip", args: argparse.Namespace) -> None:
    """Score a video and write everything about it."""
    from tqdm import tqdm

    from toolkit.video.annotate import annotate_video
    from toolkit.video.scoring import MeasuredVideo
    from toolkit.video.timeline import draw_timeline, write_csv, write_json

    model, out, source, fps = fitted.model, args.out / name, clip.source, args.fps or clip.fps
    measured = MeasuredVideo(model, source, args.cache or args.out / "cache", fitted.key, fps)
    began = time.perf_counter()
    with tqdm(desc=f"{name}: scoring", unit=" frames", disable=None) as progress:
        fresh = measured.measure(progress)
    took = time.perf_counter() - began
    for line in measured.problems:
        print(f"warning: {line}", file=sys.stderr)
    scored = judge(fitted, measured, name, args)
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(desc=f"{name}: drawing", total=len(scored.times), unit=" frames", disable=None) as progress:
        rows = ((seconds, found, model.region_scores(found.errors) if found else []) for seconds, found in measured)
        limit = fitted.heat_limit if args.heat_map else None
        video = None if args.no_video else out / "annotated.mp4"
        key_frames = annotate_video(source, fps, scored, rows, video, limit, progress)
    draw_timeline(scored, key_frames, out / "timeline.png")
    write_csv(scored, out / "scores.csv")
    write_json(scored, out / "scores.json", model=str(args.model), problems=measured.problems)
    rate = f"{fresh / took:.1f} frames/s" if fresh else "all from the cache"
    print(f"{name}: {len(scored.times)} frames ({rate}), {len(scored.events)} events: {out / 'timeline.png'}")


def judge(fitted: "FittedScorer", measured: Any, name: str, args: argparse.Namespace) -> "Scored":
    """Scores, threshold and events of a measured video."""
    import numpy as np

    from toolkit.video.timeline import Scored, find_events, smooth, window_frames

    times, scores = measured.scores()
    if np.isnan(scores).all():
        raise UserError(
            f"{measured.source}: has {len(scores)} frames, none of which can be scored: "
            f"{fitted.model.warm_up} must come before it"
        )
    waiting = int(np.isnan(scores).sum())
    if waiting:
        print(f"{name}: the first {waiting} frames have no score, they have too few before them", file=sys.stderr)
    fps = (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else 25.0
    window = window_frames(fitted.model.smooth_seconds if args.smooth is None else args.smooth, fps)
    threshold = fitted.threshold(args.quantile, window) if args.threshold is None else args.threshold
    smoothed = smooth(scores, window)
    events = find_events(times, smoothed, threshold, args.min_gap, args.min_length, fps)
    return Scored(name, fps, times, scores, smoothed, threshold, events)


def score_live(fitted: "FittedScorer", source: str, args: argparse.Namespace) -> int:
    """Print events as they begin and end, one JSON object a line, until Ctrl-C; keep the scores in OUT."""
    from contextlib import ExitStack

    from toolkit.video.frames import open_video
    from toolkit.video.scorer import measure_segments, segments
    from toolkit.video.timeline import EventFinder, event_entry, window_frames

    model = fitted.model
    with ExitStack() as stack:
        video = stack.enter_context(open_video(source, args.fps))
        window = window_frames(model.smooth_seconds if args.smooth is None else args.smooth, video.fps)
        threshold = fitted.threshold(args.quantile, window) if args.threshold is None else args.threshold
        table = stack.enter_context(live_table(args.out, args.force)) if args.out else None
        finder = EventFinder(threshold, args.min_gap, args.min_length, video.fps)
        length = max(LIVE_LENGTH, model.before)
        delay = (length + model.after + window) / video.fps
        print(
            f"{source}: {video.fps:.3g} frames/s, threshold {threshold:.3g}, told {delay:.1f} s late", file=sys.stderr
        )
        recent: list[float] = []
        try:
            pieces = segments(until(video, args.duration), length, model.before, model.after, model.max_side)
            for times, found in measure_segments(model, pieces):
                for seconds, regions in zip(times, found, strict=True):
                    value = model.frame_score(regions)
                    recent = [*recent, value][-window:]
                    mean = sum(recent) / window if len(recent) == window else math.nan
                    if table:
                        table.write(f"{seconds:.3f},{value:.6g},{mean:.6g}\n")
                    tell(finder.add(float(seconds), mean), event_entry)
        except KeyboardInterrupt:
            pass
        tell(finder.close(), event_entry)
        for line in video.problems:
            print(f"warning: {line}", file=sys.stderr)
    return 0


def until(video: Any, duration: float | None) -> Any:
    for seconds, frame in video:
        if duration is not None and seconds >= duration:
            return
        yield seconds, frame


def tell(events: list, entry: Any) -> None:
    for kind, event in events:
        print(json.dumps({"event": kind, **entry(event)}), flush=True)


def live_table(folder: Path, force: bool) -> Any:
    """The open CSV of a live source's scores, written line by line."""
    path = folder / "scores.csv"
    if path.exists() and not force:
        raise UserError(f"{path}: exists already; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    file = path.open("w", encoding="utf-8", buffering=1)
    file.write("seconds,score,smoothed\n")
    return file


# --- evaluate -------------------------------------------------------------------------------------------------------


def evaluate(args: argparse.Namespace) -> int:
    from toolkit.engine.setup import choose_device

    check_out(args)
    choose_device(args.device)
    from toolkit.video.evaluation import compare

    rows = compare(args.set, args.model, args.smooth, args.cache, args.device)
    names = list(rows[0])
    table = [[f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *table, strict=True)]
    for line in (names, *table):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if args.out:
        write_figures(args.out, names, table)
    return 0
