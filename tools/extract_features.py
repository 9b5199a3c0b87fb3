"""The door to `toolkit extract-features`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("extract-features"))
