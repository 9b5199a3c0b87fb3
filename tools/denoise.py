"""The door to `toolkit denoise`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("denoise"))
