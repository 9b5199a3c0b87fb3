"""Find objects, classes of pixels or of whole pictures, or people, draw them, and write them as JSON."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.detection.inferencer import Detector

EXAMPLES = """examples:
  python tools/infer.py yolo_ms_xs_80e_bccd best.pth photo.jpg -o out       a shipped config, its checkpoint, a picture
  python tools/infer.py best.pth photos/ -o out                             our checkpoints carry their config
  python tools/infer.py my_config.py best.pth 'photos/**/*.jpg' more.png list.txt -o out --score-thr 0.5
  python tools/infer.py best.pth clip.mp4 -o out --classes person,car --batch-size 4
  python tools/infer.py segmentor.pth photos/ street.mp4 -o out --tile 1024              a class for each pixel
  python tools/infer.py --task count m_segnet_w025_mall best.pth photos/ -o out          how many people, and where
  python tools/infer.py --task count --method detect detector.pth photos/ -o out --classes person
  python tools/infer.py classifier.pth photos/ -o out                                    the class of each picture

Folders are searched through; a list (.txt) names one picture a line, relative to the list or to where you are.
OUT gets the drawn pictures and videos, in the folders of the inputs, and predictions.json in COCO format: images,
annotations with scores, categories. Frames of a video are images with file_name, video, frame and time (seconds).
With a segmentor, OUT gets areas.json (pixels and share of each class), masks/ (PNG of class numbers with colours, which
can be trained on) and overlays/; large pictures go through the network in overlapping tiles.
With --task count, predictions.json has count and points of each picture, in the form in which counters are trained, and
what is drawn is the density over the picture, as PNG. Large pictures are counted in tiles, with the same result.
With a classifier, predictions.json has the five most likely classes of each picture with their scores.
Exit code 1 when some pictures could not be read; the others are done all the same.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [CONFIG] CHECKPOINT INPUT [INPUT ...] -o OUT [options]",
    )
    parser.add_argument(
        "items",
        nargs="+",
        metavar="[CONFIG] CHECKPOINT INPUT",
        help="a config file or shipped name (our own checkpoints do without), a checkpoint, then pictures, folders, "
        "globs, lists (.txt) and videos",
    )
    parser.add_argument(
        "--task", choices=("detect", "segment", "count", "classify"), help="what to do (default: what the model is for)"
    )
    parser.add_argument(
        "--method",
        choices=("density", "detect"),
        default="density",
        help="count: by a model of density, or count the objects that a detector finds (default: density)",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--checkpoint", help="the checkpoint, where it does not stand before the inputs")
    parser.add_argument("--force", action="store_true", help="write into OUT although it holds files")
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score of an object, 0 to 1 (default: 0.3)")
    parser.add_argument("--classes", help="only these classes, separated by commas")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at once (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: a GPU where there is one)")
    parser.add_argument("--deploy", action="store_true", help="fold batch norms first: faster, the same results")
    parser.add_argument(
        "--tile",
        type=int,
        default=2048,
        help="segmentation: pictures with a longer side go through the network in overlapping tiles (default: 2048)",
    )
    parser.add_argument("--no-draw", action="store_true", help="write the JSON file, and masks, without drawing")
    parser.add_argument(
        "--unsafe-checkpoint", action="store_true", help="load a checkpoint with code; trusted files only"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_intermixed_args(argv)
    from toolkit.data.inputs import check_folder, find_jobs

    if not 0 <= args.score_thr <= 1:
        raise UserError(f"--score-thr {args.score_thr}: give a number from 0 to 1")
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: give at least 1")
    config, checkpoint, names = split_items(args.items, args.checkpoint)
    jobs = find_jobs(names, args.out)
    check_folder(args.out, jobs, args.force, drawing=not args.no_draw)
    model = _load(config, checkpoint, args)
    task = check_task(args, model)
    try:
        if task == "segment":
            from toolkit.commands._infer_segment import SegmentRun

            return SegmentRun(model, args, jobs).over(jobs)
        if task == "classify":
            from toolkit.commands._infer_classify import ClassifyRun

            return ClassifyRun(model, args).over(jobs)
        if task == "count":
            from toolkit.commands._infer_count import CountRun

            return CountRun(model, args, _chosen(args.classes, model)).over(jobs)
        from toolkit.commands._infer_run import Run

        return Run(model, args, _chosen(args.classes, model)).over(jobs)
    except OSError as error:
        raise UserError(f"cannot write results to {args.out}: {error.strerror or error}") from error


def _load(config: str, checkpoint: str | None, args: argparse.Namespace) -> "Detector":
    from toolkit.inference import load_model

    return load_model(config, checkpoint, args.device, args.unsafe_checkpoint, args.deploy)


def check_task(args: argparse.Namespace, model: Any) -> str:
    """What to do with `model`: what --task says or, without it, what the model is for.

    Raises:
        UserError: the model is not for that.
    """
    tasks = {"Detector": "detect", "Segmenter": "segment", "Counter": "count", "Classifier": "classify"}
    own = tasks.get(type(model).__name__)
    if own is None:
        raise UserError(f"{args.items[0]}: not a model of pictures; `denoise` and `separate` take those of sound")
    task = args.task or own
    needed = "detect" if task == "count" and args.method == "detect" else task
    if args.method == "detect" and task != "count":
        raise UserError("--method detect is for --task count")
    if needed != own:
        how = "" if (task, own) != ("count", "detect") else "; --method detect counts what a detector finds"
        raise UserError(f"--task {task} needs a model that can {needed}, this one is to {own}{how}")
    return task


def _chosen(classes: str | None, model: "Detector") -> list[str] | None:
    if classes is None:
        return None
    from toolkit.detection.results import class_numbers

    names = [name.strip() for name in classes.split(",") if name.strip()]
    try:
        class_numbers(names, model.classes)
    except UserError as error:
        raise UserError(f"--classes: {error}") from None
    return names


def split_items(items: list[str], checkpoint: str | None) -> tuple[str, str | None, list[str]]:
    """(config or checkpoint, checkpoint or None, inputs) of the positional arguments.

    Raises:
        UserError: there is no checkpoint, or no input.
    """
    from toolkit.config import CHECKPOINT_ENDINGS

    if checkpoint is not None or items[0].endswith(CHECKPOINT_ENDINGS):
        config, inputs = items[0], items[1:]
    elif len(items) > 1 and items[1].endswith(CHECKPOINT_ENDINGS):
        config, checkpoint, inputs = items[0], items[1], items[2:]
    else:
        raise UserError(
            f"no checkpoint: {items[0]!r} does not end in {', '.join(CHECKPOINT_ENDINGS)}, nor does what follows it; "
            "give [CONFIG] CHECKPOINT INPUT..., or --checkpoint FILE"
        )
    if not inputs:
        raise UserError("no input: give pictures, folders, globs, lists (.txt) or videos after the checkpoint")
    return config, checkpoint, inputs
