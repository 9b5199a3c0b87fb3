"""Inference form of a trained network: the same outputs, sooner.

`deploy(model)` changes a network in place, in three steps:

1. a module's own `deploy()` or `switch_to_deploy()`, as re-parameterised blocks have;
2. batch norms folded into the convolutions before them;
3. on a CPU, convolutions that go straight to oneDNN with weights in channels-last order, 3x3 convolutions of many
   channels to NNPACK's Winograd kernels, and linear layers to oneDNN with weights in its own order, which are then in
   memory twice. Both are in every PyTorch wheel for x86; where they are absent, the step is left out.

What is folded is read from the code and not guessed from attribute names: each module that holds a convolution and a
batch norm is traced with torch.fx, and a pair is folded when the norm alone reads what the convolution gives. So a
convolution that several levels share (RTMDet's head) becomes one copy for each level's norm, and what cannot be traced
stays as it is.

    w' = w * gamma / sqrt(var + eps)        b' = (b - mean) * gamma / sqrt(var + eps) + beta

Winograd: Fast Algorithms for Convolutional Neural Networks, CVPR 2016, arXiv 1509.09308. It sums in another order,
which moves outputs by about 1e-5 of their magnitude. Measured at 640 pixels with one thread of an AMD EPYC with
AVX-512 (times of the unfolded network): folding alone 0.97, with channels-last 0.85, with oneDNN's 1x1 kernels 0.82,
with Winograd 0.72 for YOLO-MS-XS and 0.63 for RTMDet-tiny. Fusing the activations too gained nothing more.
"""

import inspect
import sys
from collections import Counter
from typing import Any

import torch
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from toolkit.modules.packed_weight import PackedLinear

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, SyncBatchNorm)
WINOGRAD_CHANNELS = 64  # with fewer, and on smaller maps, transforming costs what it saves
WINOGRAD_AREA = 24 * 24


def deploy(model: nn.Module) -> nn.Module:
    """Bring `model` into its inference form, in place.

    The model is put into evaluation mode and its parameters stop requiring gradients; it cannot be trained afterwards,
    and its state dict no longer fits the model's config. Outputs stay equal to 1e-4 of their largest magnitude. It may
    be moved to another device, compiled and exported afterwards. Calling it again changes nothing.

    Args:
        model: any network; best on the device where it will run.

    Returns:
        `model`, or its replacement when it is itself a convolution.
    """
    model.eval().requires_grad_(False)
    _call_own_hooks(model)
    for module in list(model.modules()):
        _fold_norms(module)
    if torch.backends.mkldnn.is_available():
        model = _replace_layers(model)
    return model.requires_grad_(False)


def _call_own_hooks(model: nn.Module) -> None:
    for module in reversed(list(model.modules())):  # what is inside comes first
        for name in ("switch_to_deploy", "deploy"):
            hook = getattr(module, name, None)
            if inspect.ismethod(hook):  # `deploy` is a flag in some published blocks
                hook()
                break


# ----------------------------------------------------------------------------------------------------------- folding


class _OwnCode(fx.Tracer):
    """Traces the forward of one module and nothing inside the modules that it calls."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _graph(module: nn.Module) -> fx.Graph | None:
    """What `module.forward` does with default options, or None when that depends on its input."""
    parameters = inspect.signature(module.forward).parameters.values()
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
    }
    before = dict(module.__dict__)
    try:
        return _OwnCode().trace(module, concrete_args=defaults)
    except Exception:  # any code may meet a tracer's proxy with any error
        return None
    finally:
        module.__dict__.clear()  # a forward may have put proxies into a cache
        module.__dict__.update(before)


def _own_leaves(module: nn.Module) -> list[nn.Module]:
    """Children of `module`, and those in its lists and dicts, which have no forward."""
    leaves: list[nn.Module] = []
    for child in module.children():
        leaves += _own_leaves(child) if isinstance(child, nn.ModuleList | nn.ModuleDict) else [child]
    return leaves


def _is_plain(module: nn.Module) -> bool:
    return not (module._forward_hooks or module._forward_pre_hooks or is_parametrized(module))


def _is_conv(module: nn.Module) -> bool:
    return (type(module) in CONVS or _is_mmcv_conv(module)) and _is_plain(module)


def _is_mmcv_conv(module: nn.Module) -> bool:
    """Whether it is mmcv's nn.Conv2d for empty inputs; mmcv takes a second to import, which audio does without."""
    wrappers = sys.modules.get("mmcv.cnn.bricks.wrappers")
    return wrappers is not None and type(module) is wrappers.Conv2d


def _is_norm(module: nn.Module) -> bool:
    return type(module) in NORMS and module.running_var is not None and _is_plain(module)


def _fold_norms(parent: nn.Module) -> None:
    """Fold every batch norm that `parent.forward` applies to a convolution's output and to nothing else."""
    if isinstance(parent, nn.ModuleList | nn.ModuleDict):
        return
    leaves = _own_leaves(parent)
    if not (any(map(_is_conv, leaves)) and any(map(_is_norm, leaves))):
        return
    graph = _graph(parent)
    if graph is None:
        return
    modules = dict(parent.named_modules(remove_duplicate=False))
    # by module and not by name: a module may have two names
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in graph.nodes:
        pair = _foldable_pair(node, modules)
        if pair is None or any(calls[id(modules[name])] > 1 or name in read for name in pair):
            continue
        conv, norm = pair
        parent.set_submodule(conv, fuse_conv_bn_eval(modules[conv], modules[norm]))
        parent.set_submodule(norm, nn.Identity().eval())


def _foldable_pair(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, str] | None:
    """Names of a convolution and of the norm that `node` applies to it."""
    if node.op != "call_module" or not _is_norm(modules[node.target]):
        return None
    source: Any = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
        return None
    return (source.target, node.target) if _is_conv(modules[source.target]) else None


# ----------------------------------------------------------------------------------------------------------- layers


class InferenceConv2d(nn.Conv2d):
    """A convolution that on a CPU, in float32, calls the fastest kernel by itself.

    torch's own dispatch takes an im2col matrix product for 1x1 kernels with one picture and one thread, which is slower
    than oneDNN's, and never Winograd. Elsewhere (GPU, autocast, compilation, export) it is a plain nn.Conv2d.
    """

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "InferenceConv2d":
        """`conv` with its weights brought into the order that its kernel reads."""
        with torch.device("meta"):
            new = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.groups,
                conv.bias is not None,
            )
        order = torch.contiguous_format if new.has_winograd else torch.channels_last
        new.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=order), requires_grad=False)
        new.bias = conv.bias
        return new.train(conv.training)

    @property
    def has_winograd(self) -> bool:
        return (
            torch._nnpack_available()
            and self.kernel_size == (3, 3)
            and self.padding == (1, 1)
            and self.stride == self.dilation == (1, 1)
            and self.groups == 1
            and min(self.in_channels, self.out_channels) >= WINOGRAD_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H', W')
        if not self._is_direct(x):
            return super().forward(x)
        if x.shape[2] * x.shape[3] >= WINOGRAD_AREA and self.has_winograd:
            return torch._nnpack_spatial_convolution(x, self.weight, self.bias, self.padding, self.stride)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )

    def _is_direct(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.dim() == 4
            and x.numel() > 0
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
        )


def _inference_form(module: nn.Module) -> nn.Module | None:
    """What replaces `module` on a CPU, if anything does."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if not _is_plain(module):
        return None
    if type(module) is nn.Linear:
        return PackedLinear.of(module)
    is_conv = type(module) is nn.Conv2d or _is_mmcv_conv(module)
    if is_conv and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return InferenceConv2d.of(module)
    return module.inference_form() if hasattr(module, "inference_form") else None


def _replace_layers(model: nn.Module) -> nn.Module:
    """`model` with a faster form of each plain convolution and linear layer, one for all places that share it."""
    forms = {id(module): _inference_form(module) for module in model.modules()}
    new = {key: form for key, form in forms.items() if form is not None}
    for module in list(model.modules()):
        for name, child in module._modules.items():  # named_children leaves out second names
            if id(child) in new:
                module._modules[name] = new[id(child)]
    return new.get(id(model), model)
