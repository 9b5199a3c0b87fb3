"""`toolkit make-anomaly-video`: put bicycles, cars and runners into a normal video, with labels."""

import argparse
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """\
examples:
  python data/make_anomaly_video.py vtest.avi odd.mp4                          a bicycle, a car and a runner pass by
  python data/make_anomaly_video.py vtest.avi normal.mp4 --end 40 --events 0   the first 40 s as they are, to learn from
  python data/make_anomaly_video.py vtest.avi odd.mp4 --start 40 --kinds car --events 1 --lane 0.45 0.6 --seed 1
  python data/make_anomaly_video.py walk.mp4 odd.mp4 --cutouts coco/polygons_val.json --kinds bicycle,car

IN is a normal video or a folder of pictures. Beside OUT.mp4 stands OUT.json: a label for each frame (1 where at least
one pixel of a passer is seen), boxes [frame, track, x1, y1, x2, y2] of what is seen, and each passer's kind and times.
`toolkit.video.datasets.find_clips` reads it. The same seed gives the same crossings.
"""


def main(argv: list[str] | None = None) -> None:
    """Read the options and make the video."""
    parser = argparse.ArgumentParser(
        description="Put bicycles, cars and runners, drawn or cut out of pictures, into a normal video, with labels.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a normal video or a folder of pictures")
    parser.add_argument("out", type=Path, metavar="OUT", help="video to make, .mp4")
    parser.add_argument("--kinds", default="bicycle,car,runner", help="what passes, in turn (bicycle,car,runner)")
    parser.add_argument("--events", type=int, default=3, help="how many pass (3)")
    parser.add_argument(
        "--person", type=float, default=0.13, help="height of a person there, as a part of the picture's height (0.13)"
    )
    parser.add_argument(
        "--lane",
        type=float,
        nargs=2,
        metavar=("LEFT", "RIGHT"),
        help="height of the ground at the left and the right edge, 0 top to 1 bottom (random, 0.5 to 0.8)",
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds of IN at which to begin (0)")
    parser.add_argument("--end", type=float, help="seconds of IN at which to end")
    parser.add_argument("--cutouts", type=Path, help="COCO file with polygons to cut passers from (they are drawn)")
    parser.add_argument("--images", type=Path, help="folder of its pictures (beside it, by the end of its name)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same crossings (0)")
    parser.add_argument("--force", action="store_true", help="replace an earlier OUT")
    args = parser.parse_args(argv)
    kinds = _check(args)

    from toolkit.video.composite import make_anomaly_video
    from toolkit.video.writer import NEED, has_sound_writer

    lane = tuple(args.lane) if args.lane else None
    entry = make_anomaly_video(
        args.source, args.out, kinds, args.events, args.person, lane, args.seed, args.start, args.end, args.cutouts,
        args.images,
    )  # fmt: skip
    for event in entry["events"]:
        print(
            f"{event['start']:8.1f} s to {event['end']:6.1f} s  {event['kind']}{'' if event['drawn'] else ', cut out'}"
        )
    print(
        f"{sum(entry['labels'])} of {len(entry['labels'])} frames are odd: {args.out}, {args.out.with_suffix('.json')}"
    )
    if not has_sound_writer():
        print(NEED)


def _check(args: argparse.Namespace) -> list[str]:
    """The kinds that were asked for. Raises `UserError` for options that cannot be."""
    from toolkit.video.passers import KINDS

    kinds = [kind.strip() for kind in args.kinds.split(",") if kind.strip()]
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong or not kinds:
        raise UserError(f"--kinds {args.kinds}: give some of {','.join(KINDS)}")
    if args.events < 0 or args.seed < 0:
        raise UserError(f"--events and --seed must be at least 0, got {args.events} and {args.seed}")
    if not 0 < args.person <= 1:
        raise UserError(f"--person {args.person}: give a part of the picture's height, above 0 and at most 1")
    if args.lane and not all(0 <= value <= 1.5 for value in args.lane):
        raise UserError("--lane: give parts of the picture's height, 0 top to 1 bottom")
    if args.start < 0 or (args.end is not None and args.end <= args.start):
        raise UserError(f"--start {args.start:g} --end {args.end}: give seconds, the start before the end")
    if args.out.suffix.lower() != ".mp4":
        raise UserError(f"{args.out}: give a name that ends in .mp4")
    if args.source.resolve() == args.out.resolve():
        raise UserError(f"{args.out} would overwrite the input")
    taken = [path for path in (args.out, args.out.with_suffix(".json")) if path.exists()]
    if taken and not args.force:
        raise UserError(f"{taken[0]} exists already; name another file or replace it with --force")
    return kinds
