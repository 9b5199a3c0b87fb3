"""Single convolutions as published: Dcls, TVConv, ARC, SGConv, WConv, MSAConv, and ARC's ResNet."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of TVConv, ARC, SGConv and WConv in turn. Of the others and in what is left of these, published names are ours.
SIGNS = re.compile(r"(^|\.)(posi_map|rounting_func\.dwc\.weight|kernel_list\.0|alfa|Phi)$")
TVCONV_FACTS = ("TVConv_k", "TVConv_k_square", "stride", "channels", "h", "w")
SGCONV_FACTS = ("multiplier", "kernel_norm_initialized")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of one of these layers or of a network with them."""
    return any(SIGNS.search(key) for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names; None for the densities that a weighted convolution computes."""
    if re.search(r"(^|\.)(alfa|Phi)$", key):
        return None
    key = key.replace("rounting_func.norm.norm.", "rounting_func.norm.").replace("rounting_func.", "routing.")
    return key.replace("output_linear.0.", "output_linear.")


def adapt(state_dict: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The checkpoint without what our layers compute, and with kernels of ARC and norms of SGConv in our shapes."""
    own, found = model.state_dict(keep_vars=True), dict(state_dict)
    for key in state_dict:
        prefix, _, leaf = key.rpartition(".")
        prefix += "." if prefix else ""
        if leaf == "posi_map":
            for name in TVCONV_FACTS:
                found.pop(prefix + name, None)
        elif leaf == "weight" and prefix + "rounting_func.dwc.weight" in state_dict and state_dict[key].dim() == 5:
            found[key] = state_dict[key].flatten(0, 1)  # kernels of ARC one below the other
        elif leaf == "kernel_norm_initialized":
            norm = found.pop(prefix + "kernel_norm", None)
            if norm is not None and bool(state_dict[key]) and prefix + "kernel_norm" in own:
                # the published norm of one of its two forms has no channels
                found[prefix + "kernel_norm"] = norm.expand_as(own[prefix + "kernel_norm"])
            for name in SGCONV_FACTS:
                found.pop(prefix + name, None)
    return found


def covers(case: Mapping) -> bool:
    """Whether the case is of one of these repositories."""
    return case["source_repo"] in BUILDERS


def build(case: Mapping) -> Built:
    """Our layer, part of a layer or network for a case."""
    return BUILDERS[case["source_repo"]](dict(case["constructor"]), case)


def taken(facts: dict, names: Mapping[str, str]) -> dict:
    """The facts called `names` (published -> ours) as arguments of ours.

    Raises:
        NotImplementedCase: another fact is left.
    """
    rest = {name: value for name, value in facts.items() if name not in names}
    if rest:
        raise NotImplementedCase(", ".join(f"{name} {value!r}" for name, value in rest.items()))
    return {names[name]: value for name, value in facts.items()}


def same(*names: str) -> dict[str, str]:
    """Names that are the same in both."""
    return {name: name for name in names}


def of(layer: "nn.Module") -> Built:
    """A layer with one input and one output."""
    return Built(layer, lambda model, inputs: {"out": model(*inputs.values())})


CONV = same("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")


def build_dcls(facts: dict, case: Mapping) -> Built:
    """The layer, or the construction of its kernel."""
    from torch import nn

    from toolkit.modules.conv import dcls

    facts["kernel_size"] = facts.pop("dilated_kernel_size")
    if facts["version"] not in dcls.VERSIONS:
        raise NotImplementedCase(f"version {facts['version']!r}")
    if case["state"]:
        shapes = {key: shape for key, shape, _ in case["state"]}
        if "SIG" in shapes and facts["version"] != "max":
            facts["version"] = "gauss"  # the two that have widths; the weights know better than the label
        cls = (dcls.Dcls1d, dcls.Dcls2d, dcls.Dcls3d)[shapes["P"][0] - 1]
        layer = cls(**taken(facts, CONV | same("kernel_count", "version", "padding_mode")))
        return of(layer)
    size, scale = facts["kernel_size"], re.search(r"P_raw\*([\d.]+)", case["notes"])

    def forward(_: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        positions = inputs["P_raw"] * float(scale[1])
        for one, side in zip(positions, size, strict=True):
            one.clamp_(-(side // 2), side // 2)
        return {"kernel": dcls.construct_kernel(inputs["weight"], positions, inputs["SIG"], size, facts["version"])}

    return Built(nn.Identity(), forward)


def build_tvconv(facts: dict, _: Mapping) -> Built:
    """The layer."""
    from toolkit.modules.conv.tvconv import TVConv

    channels, size = facts.pop("channels"), (facts.pop("h"), facts.pop("w"))
    names = {"TVConv_k": "kernel_size", "TVConv_posi_chans": "posi_channels", "TVConv_inter_chans": "inter_channels"}
    names |= {"TVConv_inter_layers": "inter_layers", "TVConv_Bias": "bias", "stride": "stride"}
    return of(TVConv(channels, channels, size=size, **taken(facts, names)))


def build_arc(facts: dict, _: Mapping) -> Built:
    """The ResNet, the layer, or the turning of its kernels."""
    import math

    from mmengine.registry import MODELS, DefaultScope
    from torch import nn

    from toolkit.modules.conv.arc import ARC, rotated_kernels

    if "depth" in facts:
        blocks = [[int(i) for i in stage if i != "x"] for stage in facts.pop("replace")]
        names = same("depth", "kernel_number", "out_indices", "style", "strides", "dilations", "num_stages")
        args = taken(facts, names)
        with DefaultScope.overwrite_default_scope("mmdet"):
            model = MODELS.build(dict(type="ARCResNet", arc_blocks=blocks, **args))

        def maps(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
            return {f"out{i}": one for i, one in zip(model.out_indices, model(inputs["x"]), strict=True)}

        return Built(model, maps)
    if "in_channels" in facts:
        return of(ARC(**taken(facts, CONV | same("kernel_number", "dropout", "proportion")) | dict(bias=False)))
    if facts.get("kernel_size", 3) != 3:
        raise NotImplementedCase(f"kernel_size {facts['kernel_size']}")
    limit = math.radians(facts.get("proportion", 40.0))

    def forward(_: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        angles = inputs["angle_raw"].tanh() * limit
        return {"out": rotated_kernels(inputs["weight"], inputs["gate_logit"].sigmoid(), angles).flatten(0, 1)}

    return Built(nn.Identity(), forward)


def build_sgconv(facts: dict, _: Mapping) -> Built:
    """The layer and its norm."""
    from toolkit.modules.conv.sgconv import SGConv

    if facts.pop("activation", "gelu") != "gelu":
        raise NotImplementedCase(f"activation {facts['activation']!r}")
    words = facts.pop("mode", "cat_randn").split("_")
    mode = next((word for word in words if word in ("cat", "sum")), None)
    if mode is None or "fixed" in words:
        raise NotImplementedCase(f"mode {'_'.join(words)!r}")
    decay = (float(facts.pop("decay_min", 2)), float(facts.pop("decay_max", 2)))
    names = same("l_max", "kernel_dim", "channels", "bidirectional", "n_scales", "init_scale", "linear")
    args = taken(facts, names | {"d_model": "in_channels"})
    layer = SGConv(decay=decay, mode=mode, learnable_decay="learnable" in words, **args)
    return Built(layer, lambda model, inputs: {"y": model(inputs["x"]), "kernel_norm": model.kernel_norm})


def build_wconv(facts: dict, _: Mapping) -> Built:
    """The layer."""
    from toolkit.modules.conv import weighted_conv

    dims = facts.pop("dim")
    if "den_init" in facts:
        facts["den"] = facts.pop("den_init")
    cls = getattr(weighted_conv, f"WConv{dims}d", None)
    if cls is None:
        raise NotImplementedCase(f"dim {dims}")
    return of(cls(**dict(padding=1) | taken(facts, CONV | same("den", "trainable_den", "padding_mode"))))


def build_tic(facts: dict, case: Mapping) -> Built:
    """The layer, or its two operators."""
    from torch import nn

    from toolkit.modules.conv.msa_conv import MSAConv, window_scores, window_sum

    if case["state"]:
        names = {"input_channel": "in_channels", "output_channel": "out_channels", "dropout": "dropout"}
        return of(MSAConv(**taken(facts, CONV | names)))
    size, dilation = (
        (value, value) if isinstance(value, int) else tuple(value)
        for value in (facts["kernel_size"], facts.get("dilation", 1))
    )

    def forward(_: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        dots = window_scores(inputs["q"], inputs["k"], size, dilation)
        return {"dots": dots, "out": window_sum(dots.softmax(1), inputs["v"], size, dilation)}

    return Built(nn.Identity(), forward)


def build_orthogonality(facts: dict, case: Mapping) -> Built:
    """The distances, named measure_kernel_stride_padding; constructor facts are the kernels' scales."""
    from torch import nn

    from toolkit.engine import orthogonality

    def measure(name: str, kernels: "dict[str, Tensor]") -> "Tensor":
        kind, kernel, *rest = name.split("_")
        stride = next((int(part[1:]) for part in rest if part[0] == "s"), 1)
        padding = next((part[1:] for part in rest if part[0] == "p"), "full")
        if kind == "deconv":
            padding = None if padding == "full" else int(padding)
            return orthogonality.filter_orthogonality(kernels[kernel], stride, padding)
        if kind == "conv":
            return orthogonality.input_orthogonality(kernels[kernel], stride)
        if kind == "orth":
            return orthogonality.matrix_orthogonality(kernels[kernel])
        raise NotImplementedCase(f"output {name}")

    def forward(_: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        kernels = {name: kernel * facts.get(f"{name}_scale", 1.0) for name, kernel in inputs.items()}
        return {name: measure(name, kernels).view(1) for name in case["output_shapes"]}

    return Built(nn.Identity(), forward)


BUILDERS: dict[str, Callable[[dict, Mapping], Built]] = {
    "K-H-Ismail/Dilated-Convolution-with-Learnable-Spacings-PyTorch": build_dcls,
    "JierunChen/TVConv": build_tvconv,
    "LeapLabTHU/ARC": build_arc,
    "ctlllll/SGConv": build_sgconv,
    "cammarasana123/weightedConvolution2.0": build_wconv,
    "zs670980918/MSA-Conv": build_tic,
    "samaonline/Orthogonal-Convolutional-Neural-Networks": build_orthogonality,
}
VERIFIED = ("Dcls1d", "Dcls2d", "Dcls3d", "TVConv", "ARC", "ARCResNet", "SGConv", "WConv2d", "WConv3d", "MSAConv")
FAMILY = Family("single convolutions", recognises, rename, covers, build, VERIFIED, adapt)
