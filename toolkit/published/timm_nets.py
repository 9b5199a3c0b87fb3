"""ConvNeXt, InceptionNeXt, PoolFormer, LowFormer and CrossViT as published: timm knows the authors' names."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from toolkit.published.family import Built, Family, NotImplementedCase

if TYPE_CHECKING:
    from torch import Tensor, nn

    from toolkit.backbones.timm import TimmBackbone

# The ends of keys that each network has in its authors' names, and networks that took over ConvNeXt's names do not.
SIGNS = (
    r"stages\.0\.0\.dwconv\.bias",
    r"stages\.0\.blocks\.0\.token_mixer\.dwconv_hw\.weight",
    r"network\.0\.0\.layer_scale_1",
    r"input_stem\.op_list\.0\.conv\.weight",
    r"blocks\.0\.fusion\.0\.norm1\.weight",
)
OTHERS = r"stages\.0\.0\.(se|gnconv)\."
POOLFORMERS = {  # layers, widths
    "s12": ([2, 2, 6, 2], [64, 128, 320, 512]),
    "s24": ([4, 4, 12, 4], [64, 128, 320, 512]),
    "s36": ([6, 6, 18, 6], [64, 128, 320, 512]),
    "m36": ([6, 6, 18, 6], [96, 192, 384, 768]),
    "m48": ([8, 8, 24, 8], [96, 192, 384, 768]),
}
LOWFORMERS = {  # widths, depths, without attention and its MLP
    "b0": ([16, 32, 64, 128, 256], [0, 1, 1, 3, 4], False),
    "b1": ([16, 32, 64, 128, 256], [0, 1, 1, 5, 5], False),
    "b15": ([20, 40, 80, 160, 320], [0, 1, 1, 6, 6], False),
    "b2": ([24, 48, 96, 192, 384], [0, 1, 1, 6, 6], False),
    "b3": ([32, 64, 128, 256, 512], [1, 2, 3, 6, 6], False),
    "e1": ([20, 40, 80, 160, 320], [0, 1, 1, 4, 4], True),
    "e2": ([32, 64, 128, 256, 512], [1, 2, 3, 4, 4], True),
}
CROSSVIT = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "multi_conv")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of one of the networks in its authors' names, alone or in a larger model."""
    text = "\n".join(keys)
    if re.search(rf"^(.*\.)?{OTHERS}", text, re.MULTILINE):
        return False
    return re.search(rf"^(.*\.)?({'|'.join(SIGNS)})$", text, re.MULTILINE) is not None


def adapt(state_dict: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The weights of the backbone in `model` in our names, all others as they are."""
    from toolkit.backbones.timm import TimmBackbone

    found = [(name, module) for name, module in model.named_modules() if isinstance(module, TimmBackbone)]
    if not found:
        return dict(state_dict)
    name, backbone = found[0]
    if "full" in model._modules:  # of `with_classifier`
        return {f"full.{key}": value for key, value in backbone.timm_names(dict(state_dict)).items()}
    prefix, own = f"{name}." if name else "", model.state_dict()
    inside = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    inside = inside or {key: value for key, value in state_dict.items() if key not in own}  # a classifier's file
    rest = {key: value for key, value in state_dict.items() if key.removeprefix(prefix) not in inside}
    return rest | {f"{prefix}{key}": value for key, value in backbone.from_published(inside).items()}


def covers(case: Mapping) -> bool:
    """Whether the case is of the authors' repository of one of the networks."""
    return case["source_repo"] in BUILDERS


def build(case: Mapping) -> Built:
    """The mixer, the backbone or the classifier of a case."""
    return BUILDERS[case["source_repo"]](case["constructor"])


def build_convnext(facts: Mapping) -> Built:
    """ConvNeXt."""
    from toolkit.backbones.convnext import ConvNeXt

    args = dict(depths=facts["depths"], dims=facts["dims"])
    if facts["head"].startswith("none"):
        return maps(ConvNeXt(model_args=args))
    return with_classifier(ConvNeXt(out_norm=None, model_args=args), "convnext_tiny", facts, args)


def build_inceptionnext(facts: Mapping) -> Built:
    """InceptionNeXt, or its token mixer alone."""
    from timm.models.inception_next import InceptionDWConv2d as Mixer

    from toolkit.backbones.inceptionnext import InceptionNeXt
    from toolkit.modules.conv.inception_dwconv import InceptionDWConv2d

    kernels = dict(
        square_kernel_size=facts.get("square_kernel_size", facts.get("square_kernel", 3)),
        band_kernel_size=facts.get("band_kernel_size", facts.get("band_kernel", 11)),
        branch_ratio=facts.get("branch_ratio", 0.125),
    )
    if "in_channels" in facts:
        mixer = InceptionDWConv2d(facts["in_channels"], **kernels)
        return Built(mixer, lambda model, inputs: {"out": model(inputs["x"])})
    args = dict(
        depths=tuple(facts["depths"]),
        dims=tuple(facts["dims"]),
        mlp_ratios=tuple(facts.get("mlp_ratios", (4, 4, 4, 3))),
        token_mixers=partial(Mixer, **kernels),
    )
    return with_classifier(InceptionNeXt(model_args=args), "inception_next_tiny", facts, args)


def build_poolformer(facts: Mapping) -> Built:
    """PoolFormer. The authors norm the map and then pool it, timm the reverse, so the classifier is built here."""
    from torch import nn

    from toolkit.backbones.poolformer import PoolFormer

    sizes = (list(facts["layers"]), list(facts["embed_dims"]))
    arch = next((name for name, known in POOLFORMERS.items() if known == sizes), None)
    if arch is None or facts.get("mlp_ratio", 4) != 4 or facts.get("pool_size", 3) != 3:
        raise NotImplementedCase(f"layers {sizes[0]} with embed_dims {sizes[1]}, mlp_ratio or pool_size")
    if facts["head"].startswith("none"):
        return maps(PoolFormer(arch))
    width = sizes[1][-1]
    head = nn.Linear(width, facts.get("num_classes", 1000))
    model = nn.ModuleDict(dict(backbone=PoolFormer(arch, out_norm=None), norm=nn.GroupNorm(1, width), head=head))

    def forward(model: "nn.ModuleDict", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        stages = model["backbone"](inputs["image"])
        logits = model["head"](model["norm"](stages[-1]).mean((2, 3)))
        return {"logits": logits, **{f"stage{i + 1}": one for i, one in enumerate(stages)}}

    return Built(model, forward)


def build_lowformer(facts: Mapping) -> Built:
    """LowFormer."""
    from toolkit.backbones.lowformer import LowFormer

    sizes = (list(facts["width_list"]), list(facts["depth_list"]), bool(facts.get("noattention")))
    arch = next((name for name, known in LOWFORMERS.items() if known == sizes), None)
    if arch is None:
        raise NotImplementedCase(f"width_list {sizes[0]} with depth_list {sizes[1]}, noattention {sizes[2]}")
    return with_classifier(LowFormer(arch), f"lowformer_{arch}", facts)


def build_crossvit(facts: Mapping) -> Built:
    """CrossViT, with the tokens of both branches."""

    from toolkit.backbones.crossvit import CrossViT

    size = facts["img_size"]
    args = dict(
        img_size=size[0],
        img_scale=tuple(side / size[0] for side in size),
        **{name: facts[name] for name in CROSSVIT if name in facts},
    )
    built = with_classifier(CrossViT(model_args=args), "crossvit_tiny_240", facts, args)

    def forward(model: "nn.ModuleDict", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        tokens: dict[str, Tensor] = {}
        hooks = [
            norm.register_forward_pre_hook(lambda _, args, name=name: tokens.update({name: args[0]}))
            for norm, name in zip(model["full"].norm, ("branch_small_patch", "branch_large_patch"), strict=True)
        ]
        logits = model["full"](inputs["image"])
        for hook in hooks:
            hook.remove()
        return {"logits": logits, **tokens}

    return Built(built.model, forward)


def maps(backbone: "TimmBackbone") -> Built:
    """A backbone with its maps as out0, out1 ..."""

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {f"out{i}": one for i, one in enumerate(model(inputs["image"]))}

    return Built(backbone, forward)


def with_classifier(backbone: "TimmBackbone", arch: str, facts: Mapping, args: Mapping[str, Any] = {}) -> Built:
    """A backbone and timm's classifier on the same modules: stage1, stage2 ... (`features` the last), logits."""
    import timm
    from torch import nn

    full = timm.create_model(arch, pretrained=False, num_classes=facts.get("num_classes", 1000), **args)
    share(backbone, full)

    def forward(model: "nn.ModuleDict", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        (image,) = inputs.values()
        stages = model["backbone"](image)
        outputs = {f"stage{i + 1}": one for i, one in enumerate(stages)}
        return {"logits": model["full"](image), "features": stages[-1], **outputs}

    return Built(nn.ModuleDict(dict(backbone=backbone, full=full)), forward)


def share(backbone: "TimmBackbone", full: "nn.Module") -> None:
    """Put the parts of `backbone` into timm's whole network."""
    if hasattr(backbone.net, "model"):
        model = backbone.net.model
        for name, parameter in model.named_parameters(recurse=False):
            setattr(full, name, parameter)
        full.patch_embed, full.blocks = model.patch_embed, model.blocks
        return
    for name, module in backbone.net.items():
        full.set_submodule(name if name in full._modules else ".".join(name.rsplit("_", 1)), module)


BUILDERS: dict[str, Callable[[Mapping], Built]] = {
    "facebookresearch/ConvNeXt": build_convnext,
    "sail-sg/inceptionnext": build_inceptionnext,
    "sail-sg/poolformer": build_poolformer,
    "altair199797/LowFormer": build_lowformer,
    "IBM/CrossViT": build_crossvit,
}
VERIFIES = ("ConvNeXt", "CrossViT", "InceptionDWConv2d", "InceptionNeXt", "LowFormer", "PoolFormer", "TimmBackbone")
FAMILY = Family("ConvNeXt and others of timm", recognises, str, covers, build, VERIFIES, adapt)
