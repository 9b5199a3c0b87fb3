"""`toolkit make-shapes`: write a synthetic detection and segmentation set."""

import argparse

from toolkit.commands._shared import add_set_options, check_least

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
    add_set_options(parser, train=200, val=50, size=320)
    args = parser.parse_args(argv)
    check_least(args, train=1, val=1, size=96, seed=0)

    from toolkit.data.shapes import make_set

    make_set(args.out, args.train, args.val, args.size, args.seed, args.force)
    print(f"{args.train} training and {args.val} validation pictures in {args.out}")
