"""`toolkit make-shapes`: write a synthetic detection and segmentation set."""

import argparse
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """\
examples:
  toolkit make-shapes data/shapes
  toolkit make-shapes data/shapes --train 300 --val 60 --size 256 --seed 1 --force

writes OUT/train/*.jpg, OUT/val/*.jpg, OUT/train.json, OUT/val.json (COCO boxes and masks)
and OUT/masks/{train,val}/*.png (class index of each pixel; 0 is the ground).
"""


def main(argv: list[str] | None = None) -> None:
    """Read the options and make the set."""
    parser = argparse.ArgumentParser(
        description="Make a synthetic set of five kinds of shapes, for detection and segmentation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--train", type=int, default=200, help="number of training pictures (200)")
    parser.add_argument("--val", type=int, default=50, help="number of validation pictures (50)")
    parser.add_argument("--size", type=int, default=320, help="side of the pictures in pixels (320)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (0)")
    parser.add_argument("--force", action="store_true", help="replace an earlier set at OUT")
    args = parser.parse_args(argv)
    for option, least in (("train", 1), ("val", 1), ("size", 96), ("seed", 0)):
        if getattr(args, option) < least:
            raise UserError(f"--{option} must be at least {least}, got {getattr(args, option)}")

    from toolkit.data.shapes import make_set

    make_set(args.out, args.train, args.val, args.size, args.seed, args.force)
    print(f"{args.train} training and {args.val} validation pictures in {args.out}")
