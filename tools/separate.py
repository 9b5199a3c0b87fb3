"""The door to `toolkit separate`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("separate"))
