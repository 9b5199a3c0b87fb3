"""`toolkit make-digits`: write handwritten digits on clutter, a folder of pictures for each class."""

import argparse

from toolkit.commands._shared import add_set_options, check_least

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
    add_set_options(parser, train=2048, val=1024, size=32)
    args = parser.parse_args(argv)
    check_least(args, train=100, val=100, size=8, seed=0)

    from toolkit.data.digits import write_digits

    write_digits(args.out, (args.train, args.val), args.size, args.seed, args.force)
    print(f"{args.train} training and {args.val} validation pictures in {args.out}")
