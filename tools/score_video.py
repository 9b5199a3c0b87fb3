"""The door to `toolkit score-video`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("score-video"))
