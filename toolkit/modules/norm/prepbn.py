"""PRepBN: a norm that trains as layer norm, becomes batch norm plus identity, and folds away.

SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization,
ICML 2024, arXiv 2405.11582.

    y = l * LN(x) + (1 - l) * RepBN(x)        RepBN(x) = BN(x) + alpha * x

In training l = r0 * (steps left) / step falls to 0 with the forward passes; in evaluation it is 0 from the start, so
evaluate only near the end of training. RepBN is then one scale and one shift for each channel, which the linear layer
or convolution beside it can take in:

    scale = gamma / sqrt(var + eps) + alpha        shift = beta - mean * gamma / sqrt(var + eps)
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


class RepBN(nn.Module):
    """Batch norm plus `alpha` times the input, alpha one learned number.

    Args:
        num_features: C of the input.
        eps: of the batch norm.
    """

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.bn = nn.BatchNorm1d(num_features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:  # (N, C) or (B, C, N) -> the same
        return self.bn(x) + self.alpha * x

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, (C,) both, that evaluation amounts to."""
        gain = self.bn.weight * (self.bn.running_var + self.bn.eps).rsqrt()
        return gain + self.alpha, self.bn.bias - self.bn.running_mean * gain


@MODELS.register_module()
class PRepBN(nn.Module):
    """Progressive re-parameterised batch norm, for tokens (B, N, C) or (N, C) and for maps (B, C, H, W).

    As `norm_cfg=dict(type='PRepBN', step=...)`, or where a transformer has layer norms. What is left of its steps is
    saved with the weights, so that training resumes where it stopped. A forward pass in training counts as a step; one
    that runs again to save memory (`torch.utils.checkpoint`) must be inside what `recomputation` gives, as it is in
    `SLABSwin` and `SLABDeiT`.

    Args:
        num_features: C of the input.
        step: forward passes in which l falls from r0 to 0, the first after `warm`. Published: 60000 for DeiT and Swin,
            120000 for CSWin; 300000 where nothing is said.
        warm: forward passes before that, with the layer norm alone; the batch norm then sees nothing.
        r0: l at the start.
        eps: of the batch norm.
        ln_eps: of the layer norm.

    Raises:
        ValueError: `step` or `warm` are not numbers of steps, or the input is of another form.
    """

    _abbr_ = "prepbn"

    def __init__(
        self,
        num_features: int,
        step: int = 300000,
        warm: int = 0,
        r0: float = 1.0,
        eps: float = 1e-5,
        ln_eps: float = 1e-6,
    ):
        super().__init__()
        if step < 1 or warm < 0:
            raise ValueError(f"PRepBN: step must be at least 1 and warm at least 0, got {step} and {warm}")
        self.num_features, self.r0, self.has_warm_up = num_features, r0, warm > 0
        self.norm1 = nn.LayerNorm(num_features, eps=ln_eps)
        self.norm2 = RepBN(num_features, eps)
        self.register_buffer("warm", torch.tensor(warm))
        self.register_buffer("iter", torch.tensor(step))
        self.register_buffer("total_step", torch.tensor(step))

    def extra_repr(self) -> str:
        return f"{self.num_features}"

    @property
    def is_deployed(self) -> bool:
        return not hasattr(self, "norm2")

    def forward(self, x: Tensor) -> Tensor:  # (N, C), (B, N, C) or (B, C, H, W) -> the same
        if x.dim() not in (2, 3, 4) or x.shape[1 if x.dim() == 4 else -1] != self.num_features:
            raise ValueError(
                f"PRepBN: takes (N, {self.num_features}), (B, N, {self.num_features}) or (B, {self.num_features}, H, "
                f"W), got {tuple(x.shape)}"
            )
        if self.is_deployed:
            return _affine(x, self.weight, self.bias)
        if not self.training:
            return self._rep_bn(x)
        if self.has_warm_up and self.warm > 0:
            self.warm -= 1
            return self._layer_norm(x)
        share = self.r0 * self.iter / self.total_step.clamp(min=1)  # a tensor: reading it would wait for the GPU
        self.iter.sub_(1).clamp_(min=0)
        return share * self._layer_norm(x) + (1 - share) * self._rep_bn(x)

    def _layer_norm(self, x: Tensor) -> Tensor:
        return self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if x.dim() == 4 else self.norm1(x)

    def _rep_bn(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return self.norm2(x)
        if x.dim() == 3:
            return self.norm2(x.transpose(1, 2)).transpose(1, 2)
        return self.norm2(x.flatten(2)).view(x.shape)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, (C,) both, that evaluation amounts to."""
        return (self.weight, self.bias) if self.is_deployed else self.norm2.affine()

    def restart(self, step: int) -> None:
        """Begin the fall of l anew, over `step` forward passes."""
        self.total_step.fill_(step)
        self.iter.copy_(self.total_step)

    def switch_to_deploy(self) -> None:
        """Become one scale and one shift for each channel, `weight` and `bias`, in place."""
        if self.is_deployed:
            return
        scale, shift = self.affine()
        for name in ("norm1", "norm2", "warm", "iter", "total_step"):
            delattr(self, name)
        self.weight = nn.Parameter(scale.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(shift.detach().clone(), requires_grad=False)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    if x.dim() == 4:
        scale, shift = scale[:, None, None], shift[:, None, None]
    return x * scale + shift


def merge_before(norm: PRepBN, layer: nn.Linear | nn.Conv2d) -> None:
    """Make `layer(x)` what `layer(norm(x))` is in evaluation, in place.

    Raises:
        ValueError: `layer` is a convolution that pads (its zeros would have to be normed zeros) or has groups.
    """
    if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or layer.padding not in (0, (0, 0), "valid")):
        raise ValueError("merge_before: a convolution after the norm must have padding 0 and groups 1")
    scale, shift = (part.detach() for part in norm.affine())
    weight = layer.weight.detach()
    taps = weight.dim() - 2
    bias = torch.einsum("oi,i->o", weight.flatten(2).sum(2) if taps else weight, shift)
    if layer.bias is not None:
        bias = bias + layer.bias.detach()
    layer.weight = nn.Parameter(weight * scale.view(1, -1, *[1] * taps))
    layer.bias = nn.Parameter(bias)


def merge_after(layer: nn.Linear | nn.Conv2d, norm: PRepBN) -> None:
    """Make `layer(x)` what `norm(layer(x))` is in evaluation, in place."""
    scale, shift = (part.detach() for part in norm.affine())
    weight = layer.weight.detach()
    bias = shift if layer.bias is None else shift + scale * layer.bias.detach()
    layer.weight = nn.Parameter(weight * scale.view(-1, *[1] * (weight.dim() - 1)))
    layer.bias = nn.Parameter(bias)


def recomputation(module: nn.Module, *inside: AbstractContextManager) -> tuple[AbstractContextManager, ...]:
    """What a forward pass and its repetition must run in: `context_fn` of `torch.utils.checkpoint`.

    In the repetition every PRepBN of `module` stands where it stood in the first run and counts nothing.

    Args:
        module: what holds the norms.
        inside: further contexts for the repetition.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, PRepBN)]
    first: list[tuple[Tensor, Tensor]] = []

    def counters() -> list[tuple[Tensor, Tensor]]:
        return [(norm.warm.clone(), norm.iter.clone()) for norm in norms]

    def put_back(values: list[tuple[Tensor, Tensor]]) -> None:
        for norm, (warm, left) in zip(norms, values, strict=True):
            norm.warm.copy_(warm)
            norm.iter.copy_(left)

    @contextmanager
    def remember() -> Iterator[None]:
        first[:] = counters()
        yield

    @contextmanager
    def repeat() -> Iterator[None]:
        now = counters()
        put_back(first)
        try:
            with ExitStack() as stack:
                for context in inside:
                    stack.enter_context(context)
                yield
        finally:
            put_back(now)

    return remember(), repeat()
