"""The door to `toolkit make-anomaly-video`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("make-anomaly-video"))
