"""M-SFANet and M-SegNet as published: our names say what a part does, the norm of the last convolution is left out."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository

if TYPE_CHECKING:
    from torch import Tensor, nn

RENAMED = (
    (re.compile(r"(^|\.)spm\.(assp|can|reg_layer)\."), r"\1\2."),
    (re.compile(r"(^|\.)dmp\.reg_layer\."), r"\1reg_layer."),
    (re.compile(r"(^|\.)can\."), r"\1context."),
    (re.compile(r"(^|\.)assp\."), r"\1aspp."),
    (re.compile(r"(^|\.)scales\.(\d+)\.1\."), r"\1scales.\2."),
    (re.compile(r"(^|\.)aspp(\d)\.atrous_conv\."), lambda found: f"{found[1]}branches.{int(found[2]) - 1}.conv."),
    (re.compile(r"(^|\.)aspp(\d)\.bn\."), lambda found: f"{found[1]}branches.{int(found[2]) - 1}.bn."),
    (re.compile(r"(^|\.)global_avg_pool\.1\."), r"\1mean_branch.conv."),
    (re.compile(r"(^|\.)global_avg_pool\.2\."), r"\1mean_branch.bn."),
    (re.compile(r"(^|\.)aspp\.conv1\."), r"\1aspp.project.conv."),
    (re.compile(r"(^|\.)aspp\.bn1\."), r"\1aspp.project.bn."),
)
NAMES = {"backbone", "context_module", "aspp", "reg_layer", "decoder", "heads", "fuse", "can", "aspp_facts"}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a published counter or of its ASPP or context module."""
    whole = any(re.match(r"(network\.)?conv_out\.conv\.", key) for key in keys) and any(".conv1_1." in k for k in keys)
    return whole or any(re.match(r"(aspp\d\.atrous_conv|scales\.\d+\.1|global_avg_pool)\.", key) for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names."""
    if re.search(r"(^|\.)conv_out\.bn\.", key):  # stored, never used
        return None
    for published, ours in RENAMED:
        key = published.sub(ours, key)
    return key


def adapt(source: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The keys as they lie in `model`: in a head of their own where it gates, below `network` in a `CrowdCounter`."""
    own = model.state_dict(keep_vars=True)
    prefix = "network." if any(key.startswith("network.") for key in own) else ""
    gated = any(".conv_att." in f".{key}" for key in source)
    bare = not any(".conv1_1." in f".{key}" for key in source) and any(key.startswith("aspp") for key in source)
    adapted = {}
    for key, value in source.items():
        if gated and key.startswith(("conv_att.", "conv_out.")):
            part, _, rest = key.partition(".")
            kind, _, leaf = rest.partition(".")
            if part == "conv_out":
                key = f"head.conv_out.{leaf}" if kind == "conv" else key
            else:
                key = f"head.conv_att.{('conv', 'bn').index(kind)}.{leaf}"
        elif key.startswith("conv_out.conv."):
            key = key.replace("conv_out.conv.", "conv_out.")
        elif bare:
            key = re.sub(r"^conv1\.", "project.conv.", re.sub(r"^bn1\.", "project.bn.", key))
        adapted[prefix + key] = value
    return adapted


def build(case: Mapping) -> Built:
    """Our network, module or loss for a case."""
    facts = case["constructor"]
    if "crop_size" in facts:
        return build_loss(facts)
    if "pool_sizes" in facts:
        return build_context(facts)
    if "dilations" in facts:
        return build_aspp(facts)
    return build_network(facts)


def build_context(facts: Mapping) -> Built:
    """ContextAwareModule."""
    from toolkit.modules.attention.context_aware import ContextAwareModule

    check(facts, "upsample", "align_corners False")
    module = ContextAwareModule(facts["channels"], facts["pool_sizes"])
    return Built(module, lambda model, inputs: {"out": model(inputs["x"])})


def build_aspp(facts: Mapping) -> Built:
    """ASPP."""
    from toolkit.modules.conv.aspp import ASPP

    kernels = [1 if dilation == 1 else 3 for dilation in facts["dilations"]]
    if list(facts.get("kernels", kernels)) != kernels:
        raise NotImplementedCase(f"kernels {facts['kernels']}: 1 for dilation 1 and 3 for others only")
    if facts.get("conv_bias"):
        raise NotImplementedCase("conv_bias true")
    norm = facts.get("norm")
    if norm and "eps 1e-5" not in norm:
        raise NotImplementedCase(f"norm {norm}")
    check(facts, "pool_branch", "align_corners True")
    norm_cfg = dict(type="BN") if norm else None
    module = ASPP(facts["channels_in"], facts["channels"], facts["dilations"], norm_cfg)
    return Built(module, lambda model, inputs: {"out": model(inputs["x"])})


def check(facts: Mapping, key: str, part: str) -> None:
    """Refuse a description that lacks what our module does."""
    if key in facts and part not in facts[key]:
        raise NotImplementedCase(f"{key} {facts[key]!r}: {part} only")


def build_network(facts: Mapping) -> Built:
    """M-SFANet or M-SegNet, by their backbone and context module."""
    from toolkit.crowd.m_segnet import MSegNet, MSegNetQNRF
    from toolkit.crowd.m_sfanet import MSFANet, MSFANetQNRF

    if "backbone" not in facts or "decoder" not in facts:
        raise NotImplementedCase("a part of the network that has no name of its own here")
    unknown = set(facts) - NAMES
    if unknown:
        raise NotImplementedCase(f"constructor.{min(unknown)}")
    vgg19 = facts["backbone"].startswith("VGG19")
    if not vgg19 and not facts["backbone"].startswith("VGG16-BN"):
        raise NotImplementedCase(f"backbone {facts['backbone']}")
    kind = {
        (True, False): MSFANet,
        (True, True): MSFANetQNRF,
        (False, False): MSegNet,
        (False, True): MSegNetQNRF,
    }["context_module" in facts, vgg19]

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        outputs = model(inputs["x"])
        return {"density": outputs} if vgg19 else {"density": outputs[0], "attention": outputs[1]}

    return Built(kind(), forward, unused=0 if vgg19 else 2)


def build_loss(facts: Mapping) -> Built:
    """Bayesian loss, with its gradient, posterior and expected counts."""
    import torch

    from toolkit.crowd.losses import BayesianLoss

    scale = float(re.search(r"density = ([\d.]+)\*density", facts["scale"])[1])
    low, span = map(float, re.search(r"target = ([\d.]+) \+ ([\d.]+)\*target", facts["scale"]).groups())
    ratio = facts["background_ratio"] if facts["use_background"] else None
    loss = BayesianLoss(facts["sigma"], ratio, facts["stride"])

    def forward(model: BayesianLoss, inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        points = (facts["crop_size"] * inputs["points"]).split(facts["points_per_image"])
        shares = (low + span * inputs["target"]).split(facts["points_per_image"])
        with torch.enable_grad():
            density = (scale * inputs["density"]).requires_grad_()
            targets = dict(points=points, shares=shares, shorter_side=facts["shorter_sides"])
            value = model(density, None, targets)["loss_bayesian"]
            (gradient,) = torch.autograd.grad(value, density)
        posteriors = [
            model.posterior(ours, side, density.shape[2:])
            for ours, side in zip(points, facts["shorter_sides"], strict=True)
        ]
        expected = [
            (posterior * flat).sum(1) if len(posterior) else flat.sum().view(1)
            for posterior, flat in zip(posteriors, density.detach().flatten(1), strict=True)
        ]
        return {
            "loss": value.view(1),
            "expected_counts": torch.cat(expected),
            "density_gradient": gradient,
            "posterior_first_image": posteriors[0],
        }

    return Built(loss, forward)


VERIFIES = ("MSFANet", "MSFANetQNRF", "MSegNet", "MSegNetQNRF", "VGG16BN", "VGG19", "ASPP", "ContextAwareModule",
            "BayesianLoss")  # fmt: skip
FAMILY = Family(
    "M-SFANet and M-SegNet",
    recognises,
    rename,
    of_repository("Pongpisit-Thanasutives/Variations-of-SFANet-for-Crowd-Counting"),
    build,
    VERIFIES,
    adapt,
)
