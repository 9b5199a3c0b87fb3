"""The door to `toolkit compare-denoisers`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("compare-denoisers"))
