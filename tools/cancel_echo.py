"""The door to `toolkit cancel-echo`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("cancel-echo"))
