"""SLAB as published in xinghaochen/SLAB: our modules carry the published names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

COMPUTED = re.compile(r"(^|\.)(relative_position_index|attn_mask)$")
WINDOW = 7  # of softmax attention, whatever the constructor says
SWIN = ("img_size", "patch_size", "embed_dim", "depths", "num_heads", "attn_type", "kernel_size", "mlp_ratio",
        "qkv_bias", "num_classes")  # fmt: skip


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network with PRepBN. Ours are the same but for what is computed."""
    return any(re.search(r"(^|\.)norm2\.alpha$", key) for key in keys)


def rename(key: str) -> str | None:
    """The published key, which is ours; None for tables that our modules compute."""
    return None if COMPUTED.search(key) else key


def build(case: Mapping) -> Built:
    """Our norm, attention, block or network for a case."""
    facts = case["constructor"]
    if "attn_type" in facts:
        return build_swin(case)
    if "mlp_ratio" in facts:
        return build_block(facts)
    if "step" in facts:
        return build_norm(facts)
    return build_attention(facts)


def only(facts: Mapping, known: Mapping) -> None:
    """Refuse facts that we do not know, and others than we offer where `known` has a value and not None."""
    for name, value in facts.items():
        if name not in known or known[name] not in (None, value):
            raise NotImplementedCase(f"{name} {value!r}")


def build_norm(facts: Mapping) -> Built:
    """PRepBN: evaluation alone, or warm-up, two steps and evaluation from the given counter on."""
    import torch

    from toolkit.modules.norm.prepbn import PRepBN

    names = dict.fromkeys(("dim", "norm1", "warm", "step", "r0", "iter_at_start"))
    only(facts, names | dict(norm2="RepBN"))
    ln_eps = re.search(r"LayerNorm(?: eps ([\d.e-]+))?$", facts.get("norm1", "LayerNorm eps 1e-6"))
    if ln_eps is None:
        raise NotImplementedCase(f"norm1 {facts['norm1']!r}")
    norm = PRepBN(
        facts["dim"], facts["step"], facts.get("warm", 0), facts.get("r0", 1.0), ln_eps=float(ln_eps[1] or 1e-5)
    )

    def evaluated(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {"eval": model.eval()(inputs["x"])}

    def stepped(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        x = inputs["x"]
        model.train().iter.fill_(facts["iter_at_start"])
        outputs = {}
        for _ in range(facts.get("warm", 0)):
            outputs["warm_step"] = model(x)
        outputs |= {"step1": model(x), "step2": model(1.5 * x)} | evaluated(model, inputs)
        return outputs | {"counters": torch.stack((model.warm, model.iter)).float()}

    return Built(norm, stepped if "iter_at_start" in facts else evaluated)


def attention_of(facts: Mapping) -> tuple["nn.Module", tuple[int, int]]:
    """Simplified linear attention and the (H, W) that it is for, a window or all tokens of a square."""
    from toolkit.modules.attention.slab import SimplifiedLinearAttention

    window = facts.get("window_size", round(facts.get("tokens", 0) ** 0.5))
    size = (window, window) if isinstance(window, int) else tuple(window)
    if facts.get("tokens", size[0] * size[1]) != size[0] * size[1]:
        raise NotImplementedCase(f"tokens {facts['tokens']}, not a square")
    args = (facts["dim"], facts["num_heads"], size, facts.get("kernel_size", 5), facts.get("qkv_bias", True))
    return SimplifiedLinearAttention(*args), size


ATTENTION = ("dim", "num_heads", "window_size", "tokens", "kernel_size", "qkv_bias", "focusing_factor")


def build_attention(facts: Mapping) -> Built:
    """Simplified linear attention alone."""
    only(facts, dict.fromkeys(ATTENTION))
    return Built(attention_of(facts)[0], lambda model, inputs: {"out": model(inputs["x"])})


def build_block(facts: Mapping) -> Built:
    """A block of the DeiT."""
    from toolkit.backbones.slab import Block

    only(facts, dict.fromkeys((*ATTENTION, "mlp_ratio", "class_token")))
    if not str(facts.get("class_token", "none")).startswith("none"):
        raise NotImplementedCase(f"class_token {facts['class_token']!r}")
    attention, size = attention_of(facts)
    block = Block(facts["dim"], attention, int(facts["dim"] * facts["mlp_ratio"]), dict(step=60000))
    return Built(block, lambda model, inputs: {"out": model(inputs["x"], size)})


def build_swin(case: Mapping) -> Built:
    """The Swin: from a picture, or from the tokens of the first stage that the case has keys of."""
    from toolkit.backbones.slab import SLABSwin

    facts = case["constructor"]
    only(facts, dict.fromkeys((*SWIN, "window_size", "focusing_factor", "norm")))
    if not facts.get("norm", "LinearNorm").startswith("LinearNorm"):
        raise NotImplementedCase(f"norm {facts['norm']!r}")
    for i, kind in enumerate(facts["attn_type"]):
        side = facts["img_size"] // facts["patch_size"] // 2**i
        if kind == "L" and facts.get("window_size", side) < side:
            raise NotImplementedCase(f"window_size {facts['window_size']} of linear attention in a map of side {side}")
    model = SLABSwin(**{name: facts[name] for name in SWIN if name in facts})
    recorded = {
        (int(i), int(j))
        for i, j in re.findall(r"\blayers\.(\d+)\.blocks\.(\d+)\.", " ".join(k for k, *_ in case["state"]))
    }

    def from_picture(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        modules = [("patch_embed", model.patch_embed)]
        for i, stage in enumerate(model.layers, 1):
            modules += [(f"stage{i}_block{j}", block) for j, block in enumerate(stage.blocks)]
            modules += [(f"stage{i}", stage.blocks[-1])]
        return watched(model, inputs, modules)

    def from_tokens(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        x, outputs = inputs["tokens"], {}
        first = min(recorded)[0]
        side = round(x.shape[1] ** 0.5)
        for name, stage in (("block", first), ("next_block", first + 1)):
            for j in sorted(j for i, j in recorded if i == stage):
                x = outputs[f"{name}{j}"] = model.layers[stage].blocks[j](x, (side, side))
            if stage == first and model.layers[stage].downsample is not None:
                x = outputs["downsample"] = model.layers[stage].downsample(x, (side, side))
                side = -(-side // 2)
        return outputs | ({"logits": model.logits(x)} if x.shape[2] == model.head.in_features else {})

    return Built(model, from_tokens if case["inputs"][0]["name"] == "tokens" else from_picture)


VERIFIES = ("PRepBN", "SimplifiedLinearAttention", "SLABSwin")
FAMILY = Family("SLAB", recognises, rename, of_repository("xinghaochen/SLAB"), build, VERIFIES)
