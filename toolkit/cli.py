"""The `toolkit` command: one sub-command for each file in tools/."""

import ctypes
import sys
from importlib import import_module

from toolkit.errors import run_command

COMMANDS = {
    "list": "list modules, backbones, necks, heads and configs with their papers",
    "show": "say what one of them does and how a config uses it",
    "train": "train any model from a config",
    "test": "measure a checkpoint on a data set",
    "compare": "train configurations under equal conditions, several seeds each",
    "infer": "find objects in pictures, folders and videos",
    "score-video": "learn what is normal in videos, score others, find what is odd",
    "denoise": "take the noise out of recordings, files or live",
    "compare-denoisers": "measure denoisers on your own speech and noise",
    "separate": "part speakers who talk at the same time",
    "cancel-echo": "take a loudspeaker's echo out of a microphone's recording",
    "compare-cancellers": "measure echo cancellers on simulated echo of your own speech",
    "parity": "compare a model with the outputs of its published implementation",
    "benchmark": "time models: parameters, multiply-adds, milliseconds, memory",
    "browse-data": "draw a contact sheet of a data set after augmentation",
    "coco-masks": "turn COCO instances or panoptic annotations into masks for segmentation",
    "class-weights": "weigh the classes of a segmentation set for a loss by how often they occur",
    "extract-features": "write a network's features of pictures, and fit a linear SVM on them",
    "make-shapes": "make a synthetic detection and segmentation set",
    "make-digits": "make a synthetic classification set: handwritten digits on clutter",
    "make-anomaly-video": "put bicycles, cars and runners into a normal video, with labels",
    "convert": "turn VOC, YOLO, labelme or COCO annotations into checked COCO",
}


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free for the next ones.

    By default glibc hands blocks of some megabytes back at once, and the kernel clears every page of the next such
    block, which costs a network on a CPU time at every layer. Elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return
    mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper limit
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def run(name: str, argv: list[str] | None = None) -> int:
    """Run sub-command `name` with `argv` (sys.argv[1:] by default) and give its exit code."""
    keep_freed_memory()
    module = import_module(f"toolkit.commands.{name.replace('-', '_')}")
    return run_command(module.main, argv)


def main() -> None:
    """Entry point of the `toolkit` script."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: toolkit COMMAND ...\n\ncommands (each has --help):")
        print("\n".join(f"  {command:<12} {text}" for command, text in COMMANDS.items()))
        sys.exit(0)
    if name not in COMMANDS:
        print(f"error: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv[0] = f"toolkit {name}"
    sys.exit(run(name, sys.argv[2:]))
