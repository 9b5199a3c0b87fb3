"""The door to `toolkit make-digits`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("make-digits"))
