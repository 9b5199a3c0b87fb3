"""The door to `toolkit make-shapes`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("make-shapes"))
