"""The door to `toolkit coco-masks`."""

import sys

from toolkit.cli import run

if __name__ == "__main__":
    sys.exit(run("coco-masks"))
