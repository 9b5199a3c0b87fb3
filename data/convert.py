"""The door to `toolkit convert`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("convert"))
