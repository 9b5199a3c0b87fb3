"""The two halves of a convolution that is evaluated at chosen pixels only.

Region Proposal by Guided Anchoring, CVPR 2019, arXiv 1901.03278 (a head skips pixels where no anchor is likely).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fill `col` (C * kernel_h * kernel_w, P) with patches of im (1, C, H, W) at P pixels, zero outside the map."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None]  # (kh, P)
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]  # (kw, P)
    col.copy_(padded[:, rows[:, None], columns].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Write the columns of col (C, P) to their pixels of im (1, C, height, width)."""
    im[0, :, mask_h_idx, mask_w_idx] = col
