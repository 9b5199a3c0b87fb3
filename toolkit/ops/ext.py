"""What `import mmcv._ext` gives where mmcv has no compiled operators.

The names and signatures are those that mmcv's Python code calls. An operator that is not here exists nevertheless,
because mmcv looks its names up when `mmcv.ops` is imported, and says when it is called what it takes to have it.
"""

from collections.abc import Callable
from typing import NoReturn

import torch
import torchvision

from toolkit.ops.border_align import border_align_backward, border_align_forward
from toolkit.ops.carafe import carafe_backward, carafe_forward, carafe_naive_backward, carafe_naive_forward
from toolkit.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from toolkit.ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from toolkit.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from toolkit.ops.ms_deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from toolkit.ops.nms import nms, nms_match, softnms
from toolkit.ops.psa_mask import psamask_backward, psamask_forward
from toolkit.ops.roi_align import roi_align_backward, roi_align_forward
from toolkit.ops.roi_pool import roi_pool_backward, roi_pool_forward

__all__ = [
    "border_align_backward",
    "border_align_forward",
    "carafe_backward",
    "carafe_forward",
    "carafe_naive_backward",
    "carafe_naive_forward",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "masked_col2im_forward",
    "masked_im2col_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "nms_match",
    "psamask_backward",
    "psamask_forward",
    "roi_align_backward",
    "roi_align_forward",
    "roi_pool_backward",
    "roi_pool_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """What stands in the place of a compiler in mmengine's report of the environment."""
    return f"none (operators of torchvision {torchvision.__version__})"


def get_compiling_cuda_version() -> str:
    """CUDA version that torch was built with."""
    return torch.version.cuda or "not available"


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f"mmcv operator {name!r} has no equivalent in torchvision; "
            "install an mmcv with compiled operators (a wheel built for your torch, or MMCV_WITH_OPS=1 from source)"
        )

    missing.__name__ = name
    return missing
