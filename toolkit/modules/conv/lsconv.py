"""LSConv: kernels seen with a large window, applied to a small one.

LSNet: See Large, Focus Small, CVPR 2025, arXiv 2503.23135.

    y = x + bn(ska(x, lkp(x)))
    ska(x, w)[c, p] = sum over o in k*k of x[c, p + o] * w[c mod G, o, p]        G = C / groups, zeros around x
    lkp(x) = group_norm(conv_1x1(relu(conv_1x1(dw_7x7(relu(conv_1x1(x)))))))     a batch norm after each but the last
"""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LARGE = 400_000  # numbers in a batch that is better taken picture by picture, so that each stays in the CPU's cache


def ska(x: Tensor, weight: Tensor, inplace: bool = False) -> Tensor:
    """Small kernel aggregation: a depthwise convolution with kernels of its own at every position.

    Differentiable once. Half precision is summed in float32.

    Args:
        x: (B, C, H, W).
        weight: (B, G, k * k, H, W) with odd k, where G divides C; channel c uses kernel c mod G.
        inplace: `weight` may be overwritten; heeded where no gradient is wanted.

    Returns:
        (B, C, H, W) in the precision of `x`.

    Raises:
        ValueError: the shapes do not fit.
    """
    side = int(weight.shape[2] ** 0.5) if weight.dim() == 5 else 0
    if side**2 != weight.shape[2] or side % 2 == 0 or x.shape[1] % weight.shape[1]:
        raise ValueError(
            "ska: weight must be (B, G, k * k, H, W) with odd k and G a divisor of the channels of x, "
            f"got {tuple(weight.shape)} for x {tuple(x.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    if torch.is_grad_enabled():
        return _Aggregation.apply(x.to(dtype), weight.to(dtype), False).to(x.dtype)
    if len(x) > 1 and x.numel() > LARGE and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.cat([ska(*pair, inplace) for pair in zip(x.split(1), weight.split(1), strict=True)])
    return _Aggregation.apply(x.to(dtype), weight.to(dtype), inplace and weight.is_contiguous()).to(x.dtype)


# A picture is read as one line of H * W pixels, so that a shift by (dy, dx) is a shift by dy * W + dx and every product
# runs over long contiguous lines. What a shift then carries over a row's end meets a zero weight.


class _Aggregation(torch.autograd.Function):
    """`ska` with a gradient that shifts and adds as the forward pass does."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, inplace: bool) -> Tensor:
        weight = _without_wrapped(weight if inplace else weight.clone(memory_format=torch.contiguous_format))
        line = F.pad(x.flatten(2), (_margin(weight),) * 2).unflatten(1, (-1, weight.shape[1]))
        ctx.save_for_backward(line, weight)
        (pixels, *others), (tap, *taps) = _shifted(line, weight), _taps(weight)
        out = pixels * tap
        for pixels, tap in zip(others, taps, strict=True):
            out.addcmul_(pixels, tap)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        line, weight = ctx.saved_tensors
        lines = grad.flatten(2).unflatten(1, (-1, weight.shape[1]))  # (B, C / G, G, H * W)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            sums = torch.zeros_like(line)
            for pixels, tap in zip(_shifted(sums, weight), _taps(weight), strict=True):
                pixels.addcmul_(lines, tap)
            grad_x = sums.narrow(-1, _margin(weight), lines.shape[-1]).reshape(grad.shape)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight)
            for tap, pixels in zip(grad_weight.flatten(3).unbind(2), _shifted(line, weight), strict=True):
                tap.copy_((lines * pixels).sum(1))
            _without_wrapped(grad_weight)
        return grad_x, grad_weight, None


def _side(weight: Tensor) -> int:
    return int(weight.shape[2] ** 0.5)


def _margin(weight: Tensor) -> int:
    """Zeros on either side of the line: how far the outermost tap shifts it."""
    return (_side(weight) // 2) * (weight.shape[-1] + 1)


def _shifted(line: Tensor, weight: Tensor) -> list[Tensor]:
    """For each tap the view of `line`, (B, C / G, G, margin + H * W + margin), that it multiplies."""
    side, (height, width) = _side(weight), weight.shape[-2:]
    return [line.narrow(-1, row * width + column, height * width) for row in range(side) for column in range(side)]


def _taps(weight: Tensor) -> tuple[Tensor, ...]:
    """(B, G, k * k, H, W) -> k * k views (B, 1, G, H * W)."""
    return weight.flatten(3).unsqueeze(1).unbind(3)


def _without_wrapped(weight: Tensor) -> Tensor:
    """`weight`, contiguous, changed in place: zero where a tap would read a pixel of another row."""
    side, width = _side(weight), weight.shape[-1]
    grid = weight.unflatten(2, (side, side))  # (B, G, k, k, H, W)
    for shift in range(1, side // 2 + 1):
        grid[:, :, :, side // 2 - shift, :, :shift] = 0
        grid[:, :, :, side // 2 + shift, :, max(width - shift, 0) :] = 0
    return weight


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the size at stride 1, and a batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)
        return self.bn(self.c(x))


class LKP(nn.Module):
    """Large-kernel perception: the kernels that `ska` applies.

    Args:
        in_channels: C of the input.
        large_kernel_size: window in which a kernel is chosen, odd.
        small_kernel_size: k of the kernels, odd.
        groups: channels that share a kernel.
    """

    def __init__(self, in_channels: int, large_kernel_size: int, small_kernel_size: int, groups: int):
        super().__init__()
        hidden, kernels, taps = in_channels // 2, in_channels // groups, small_kernel_size**2
        self.taps = taps
        self.cv1 = ConvNorm(in_channels, hidden)
        self.cv2 = ConvNorm(hidden, hidden, large_kernel_size, groups=hidden)
        self.cv3 = ConvNorm(hidden, hidden)
        self.cv4 = nn.Conv2d(hidden, taps * kernels, 1)
        self.norm = nn.GroupNorm(kernels, taps * kernels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C / groups, k * k, H, W)
        x = self.cv3(self.cv2(self.cv1(x).relu_())).relu_()
        return self.norm(self.cv4(x)).unflatten(1, (-1, self.taps))


@MODELS.register_module()
class LSConv(nn.Module):
    """Mix tokens: look at a large neighbourhood to choose the kernels for a small one. The input is added.

    Args:
        in_channels: C of the input and the output.
        large_kernel_size: window in which a kernel is chosen.
        small_kernel_size: k of the kernels.
        groups: channels that share a kernel. They lie C / groups apart, not side by side.

    Raises:
        ValueError: `in_channels` is odd or not divisible by `groups`, or a kernel size is even.
    """

    def __init__(self, in_channels: int, large_kernel_size: int = 7, small_kernel_size: int = 3, groups: int = 8):
        super().__init__()
        if in_channels % groups or in_channels % 2:
            raise ValueError(f"LSConv: in_channels must be even and divisible by groups {groups}, got {in_channels}")
        if large_kernel_size % 2 == 0 or small_kernel_size % 2 == 0:
            sizes = f"{large_kernel_size} and {small_kernel_size}"
            raise ValueError(f"LSConv: kernel sizes must be odd, got {sizes}")
        self.lkp = LKP(in_channels, large_kernel_size, small_kernel_size, groups)
        self.bn = nn.BatchNorm2d(in_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self.bn(ska(x, self.lkp(x), inplace=True)).add_(x)
