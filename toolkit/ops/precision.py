"""Half precision is computed in float32: torchvision's CPU operators take float32 and float64 only."""

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """`tensor` in float32 if it is float16 or bfloat16, else itself."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
