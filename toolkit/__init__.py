"""Methods of 94 papers as plug-ins of the OpenMMLab registries.

`import toolkit` (or `custom_imports = dict(imports=['toolkit'])` in a config) files every name in mmengine's root
registries and lends mmcv the operators of torchvision where its compiled ones are absent. It imports neither torch
nor any model: what a config names is imported when it is named.
"""

from toolkit import (  # noqa: F401
    audio,
    backbones,
    classification,
    crowd,
    data,
    detection,
    engine,
    heads,
    modules,
    necks,
    ops,
    segmentation,
    video,
)

__version__ = "0.1.0"
__all__ = ["load_model"]


def __getattr__(name: str):
    if name == "load_model":
        from toolkit.inference import load_model

        return load_model
    raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
