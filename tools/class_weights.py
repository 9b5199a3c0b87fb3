"""The door to `toolkit class-weights`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("class-weights"))
