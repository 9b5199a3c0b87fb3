"""`toolkit make-digits`: write handwritten digits on clutter, a folder of pictures for each class."""

import argparse
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """\
examples:
  toolkit make-digits data/digits
  toolkit make-digits data/digits --train 500 --val 200 --size 48 --seed 1 --force

writes OUT/train/0/*.png to OUT/train/9/*.png and OUT/val/ likewise. Needs scikit-learn, whose digits they are made of:
pip install 'toolkit[features]'.
"""


def main(argv: list[str] | None = None) -> None:
    """Read the options and make the set."""
    parser = argparse.ArgumentParser(
        description="Make a set of handwritten digits on clutter, for classification.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--train", type=int, default=2048, help="number of training pictures (2048)")
    parser.add_argument("--val", type=int, default=1024, help="number of validation pictures (1024)")
    parser.add_argument("--size", type=int, default=32, help="side of the pictures in pixels (32)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (0)")
    parser.add_argument("--force", action="store_true", help="replace an earlier set at OUT")
    args = parser.parse_args(argv)
    for option, least in (("train", 100), ("val", 100), ("size", 8), ("seed", 0)):
        if getattr(args, option) < least:
            raise UserError(f"--{option} must be at least {least}, got {getattr(args, option)}")

    from toolkit.data.digits import write_digits

    write_digits(args.out, (args.train, args.val), args.size, args.seed, args.force)
    print(f"{args.train} training and {args.val} validation pictures in {args.out}")
