"""FDConv as published: our modules carry the published names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository

if TYPE_CHECKING:
    from torch import Tensor, nn

OFFERED = {  # what FDConv does without saying
    "use_fdconv_if_k_in": [1, 3],
    "use_fbm_if_k_in": [3],
    "att_multi": 2.0,
    "param_ratio": 1,
    "param_reduction": 1.0,
    "ksm_only_kernel_att": False,
    "ksm_local_act": "sigmoid",
    "ksm_global_act": "sigmoid",
    "spatial_freq_decompose": False,
    "convert_param": True,
    "linear_mode": False,
    "lowfreq_att": False,
    "fs_feat": "feat",
    "act": "sigmoid",
    "spatial": "conv",
    "spatial_group": 1,
    "spatial_kernel": 3,
    "init": "zero",
}
UNUSED = ("use_fdconv_if_stride_in", "use_fbm_for_stride", "att_grid", "max_size")  # by the published code
OURS = ("kernel_num", "use_fdconv_if_c_gt", "use_ksm_local", "kernel_temp", "temp")
CONV = ("stride", "padding", "dilation", "groups", "bias")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network with FDConv. They are ours as well."""
    return any(re.search(r"(^|\.)KSM_Global\.", key) for key in keys)


def build(case: Mapping) -> Built:
    """Our layer, network or conversion for a case."""
    facts = case["constructor"]
    if "rule" in facts:
        return build_conversion()
    if "depth" in facts:
        return build_resnet(facts)
    return build_layer(facts) if "args" in facts else build_fbm(facts)


def fdconv_cfg(facts: Mapping) -> dict:
    """Published options of FDConv as arguments of ours."""
    cfg = {}
    for name, value in facts.items():
        if name in OURS:
            cfg[name] = value
        elif name == "fbm_cfg":
            cfg["k_list"] = fbm_bands(value)
        elif name not in UNUSED and (name not in OFFERED or OFFERED[name] != value):
            raise NotImplementedCase(f"{name} {value!r}")
    if cfg.get("kernel_temp", 1.0) is None:
        raise NotImplementedCase("kernel_temp None")
    return cfg


def fbm_bands(facts: Mapping) -> tuple[int, ...]:
    """The bands of published options of FBM."""
    for name, value in facts.items():
        if name not in ("k_list", "in_channels", *UNUSED) and (name not in OFFERED or OFFERED[name] != value):
            raise NotImplementedCase(f"fbm_cfg.{name} {value!r}")
    return tuple(facts.get("k_list", (2, 4, 8)))


def build_layer(facts: Mapping) -> Built:
    """One FDConv, with the order of its spectrum."""
    from toolkit.modules.conv.fdconv import FDConv, frequency_order

    facts = dict(facts)
    args = {**facts.pop("args"), **{name: facts.pop(name) for name in CONV if name in facts}}
    layer = FDConv(**args, **fdconv_cfg(facts))

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        import torch

        outputs = {"out": model(inputs["x"])}
        if not model.is_plain:
            columns = model.in_channels * model.kernel_size[0]
            order = frequency_order(model.out_channels * model.kernel_size[0], columns).view(1, model.kernel_num, -1)
            places = columns // 2 + 1
            outputs["indices"] = torch.stack((order // places, order % places), 1)
        return outputs

    return Built(layer, forward)


def build_fbm(facts: Mapping) -> Built:
    """The band modulation alone."""
    from toolkit.modules.conv.fdconv import FBM

    return Built(FBM(facts["in_channels"], fbm_bands(facts)), lambda model, inputs: {"out": model(inputs["x"])})


def build_conversion() -> Built:
    """Dense weights into spectra."""
    from torch import nn

    from toolkit.modules.conv.fdconv import spectrum

    def forward(_: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {name.replace("weight", "dft"): spectrum(weight) for name, weight in inputs.items()}

    return Built(nn.Identity(), forward)


def build_resnet(facts: Mapping) -> Built:
    """The ResNet, with its maps as out0, out1 ..."""
    from mmengine.registry import MODELS, DefaultScope

    facts = dict(facts)
    for name, text in (("stem", "plain conv"), ("downsample", "plain conv")):
        if not facts.pop(name, text).startswith(text):
            raise NotImplementedCase(f"{name} other than {text}")
    conv_cfg = dict(facts.pop("conv_cfg"))
    if conv_cfg.pop("type") != "FDConv":
        raise NotImplementedCase("conv_cfg other than FDConv")
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(dict(type="FDConvResNet", conv_cfg=dict(type="FDConv", **fdconv_cfg(conv_cfg)), **facts))

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {f"out{i}": value for i, value in enumerate(model(inputs["x"]))}

    return Built(model, forward)


FAMILY = Family(
    "FDConv", recognises, str, of_repository("Linwei-Chen/FDConv"), build, ("FDConv", "FBM", "FDConvResNet")
)
