"""The door to `toolkit list`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("list"))
