"""The door to `toolkit browse-data`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("browse-data"))
