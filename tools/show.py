"""The door to `toolkit show`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("show"))
