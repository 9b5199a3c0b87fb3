"""AFF and AFFNet as published in microsoft/TokenMixers. What wraps a module as `.block` there does not here."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require, stages_and_logits

if TYPE_CHECKING:
    from torch import Tensor, nn

KNOWN = {"mode", "act", "activation", "norm", "attn_norm_layer", "stem", "layer1", "layer2", "layer3", "layer4",
         "layer5", "aff", "mv_expand", "mv_expand_ratio", "num_classes"}  # fmt: skip
FIXED = {  # what every size has
    "exp_channels": "min(4*dim,960)",
    "last_layer_exp_factor": 4,
    "num_filter_blocks": 8,
    "sparsity_threshold": 0.01,
}
FIRST_MAP = 2  # layer 2 gives the first map


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network with AFF blocks in the published names."""
    return any(re.search(r"(^|\.)global_rep\.0\.mlp\.block\.", key) for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    return key.replace(".block.", ".").removeprefix("block.")


def build(case: Mapping) -> Built:
    """The filter, the block or the network for a case."""
    facts = case["constructor"]
    if "hidden_size" in facts:
        return build_filter(facts)
    return build_block(facts) if "transformer_dim" in facts else build_network(facts)


def act_of(facts: Mapping) -> str:
    """The activation, told in words."""
    text = str(facts.get("act", facts.get("activation", "swish")))
    found = re.match(r"(relu|swish|silu|gelu)\b", text, re.IGNORECASE)
    if found is None:
        raise NotImplementedCase(f"act {text!r}")
    return found[1].lower().replace("silu", "swish")


def norm_of(facts: Mapping) -> str:
    """The norm before MLPs and filters, told in words."""
    text = str(facts.get("attn_norm_layer", facts.get("norm", "layer_norm_2d")))
    if re.match(r"layer_norm_2d\b|GroupNorm\(1\)", text):
        return "layer_norm_2d"
    if re.match(r"layer_norm\b", text):
        return "layer_norm"
    raise NotImplementedCase(f"norm {text!r}")


def build_filter(facts: Mapping) -> Built:
    """The filter alone."""
    from toolkit.modules.mixer.aff import AFFFilter

    shrink = facts.get("sparsity_threshold", 0.01)
    model = AFFFilter(facts["hidden_size"], facts.get("num_blocks", 8), act_of(dict(act="relu") | facts), shrink)
    return Built(model, lambda model, inputs: {"out": model(inputs["x"])})


def build_block(facts: Mapping) -> Built:
    """One AFFBlock."""
    from toolkit.backbones.affnet import hidden_channels
    from toolkit.modules.mixer.aff import AFFBlock

    if facts["transformer_dim"] != facts["in_channels"]:
        raise NotImplementedCase(f"transformer_dim {facts['transformer_dim']} with in_channels {facts['in_channels']}")
    require(facts, dict(bn_eps=1e-5))
    model = AFFBlock(
        facts["in_channels"],
        hidden_channels(facts["ffn_dim"], 1),
        facts["n_blocks"],
        facts.get("num_blocks", 8),
        act_of(facts),
        norm_of(facts),
    )
    return Built(model, lambda model, inputs: {"out": model(inputs["x"])})


def sizes_of(facts: Mapping) -> dict:
    """The sizes of a network in either of the forms in which cases tell them, as `arch`."""
    if "aff" in facts:
        rows = [facts["layer1"], facts["layer2"]]
        aff = [tuple(row) for row in facts["aff"]]
    else:
        rows = [[facts[name][key] for key in ("out", "blocks", "expand")] for name in ("layer1", "layer2")]
        aff = [tuple(facts[name][key] for key in ("dim", "ffn", "blocks")) for name in ("layer3", "layer4", "layer5")]
    expand = facts.get("mv_expand", facts.get("mv_expand_ratio", rows[0][2]))
    if {expand} != {row[2] for row in rows}:
        raise NotImplementedCase(f"expansions {[row[2] for row in rows]} and {expand}")
    stem = facts.get("stem", 16)
    stem = stem if isinstance(stem, int) else int(re.search(r"to (\d+)", stem)[1])
    return dict(stem=stem, layer1=tuple(rows[0][:2]), layer2=tuple(rows[1][:2]), aff=tuple(aff), expand=expand)


def build_network(facts: Mapping) -> Built:
    """AFFNet with its maps, as layers counted from 2 (layer_2 ...) and as stages counted from 1, and its logits."""
    from toolkit.backbones.affnet import AFFNet

    for name, value in facts.items():
        if name not in KNOWN and (name not in FIXED or FIXED[name] != value):
            raise NotImplementedCase(f"{name} {value!r}")
    model = AFFNet(sizes_of(facts), act_of(facts), norm_of(facts), facts.get("num_classes", 1000))

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        found = stages_and_logits(model, inputs)
        return found | {f"layer_{i + FIRST_MAP}": found[f"stage{i + 1}"] for i in range(model.built)}

    return Built(model, forward)


FAMILY = Family(
    "AFF", recognises, rename, of_repository("microsoft/TokenMixers"), build, ("AFFBlock", "AFFFilter", "AFFNet")
)
