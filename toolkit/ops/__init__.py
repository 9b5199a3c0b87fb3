"""mmcv's compiled operators made of torchvision's, where mmcv has none; and mmdet and mmseg imported in silence.

`import toolkit` appends a finder to `sys.meta_path` that serves the module `mmcv._ext` from `ext.py`. It stands last,
so a compiled `mmcv._ext` always wins. torch and torchvision are imported when `mmcv._ext` is, not before.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import mmengine.logging


class ExtFinder:
    """Meta-path finder of the one module `mmcv._ext`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """The spec of `ext.py` under the name `mmcv._ext`; None for every other module."""
        if name != "mmcv._ext":
            return None
        return spec_from_file_location(name, Path(__file__).with_name("ext.py"))


def _drop_debug_prints() -> None:
    """Let `mmengine.logging.print_log` keep silent about debug messages that have no logger.

    mmengine prints those whatever their level, and importing mmdet's and mmseg's data sets gives four of them
    ("Could not import OneDL"). Messages of level INFO and above, and those with a logger, go through as before.
    """
    print_log = mmengine.logging.print_log

    def print_log_by_level(msg: object, logger: object = None, level: int = logging.INFO) -> None:
        if logger is not None or level >= logging.INFO:
            print_log(msg, logger, level)

    mmengine.logging.print_log = print_log_by_level


def load_mmdet() -> None:
    """Import mmdet's models, data sets, hooks, metrics and visualizer into its registries without printing anything."""
    _register("mmdet.utils")


def load_mmseg() -> None:
    """Import mmseg's models, data sets, hooks, metrics and visualizer into its registries without printing anything."""
    _register("mmseg.utils")


def _register(utilities: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module(utilities).register_all_modules(init_default_scope=False)


_drop_debug_prints()
warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release", category=UserWarning)
warnings.filterwarnings("ignore", message="faster_coco_eval is not installed", category=UserWarning)
sys.meta_path.append(ExtFinder)
