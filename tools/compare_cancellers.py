"""The door to `toolkit compare-cancellers`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("compare-cancellers"))
