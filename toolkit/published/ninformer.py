"""NiNformer as published: its perceptrons hold their layers by number."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

RENAMED = (
    (r"^model\.", "blocks."),
    (r"\.mgu\.Mixer\.", ".mixer."),
    (r"\.mgu\.proj\.", ".gate."),
    (r"\.token_mix\.0\.", ".token_norm."),
    (r"\.token_mix\.2\.", ".token_mlp."),
    (r"\.channel_mix\.0\.", ".channel_norm."),
    (r"\.channel_mix\.1\.", ".channel_mlp."),
    (r"\.ffn\.", ".mlp."),
    (r"\.net\.0\.", ".fc1."),
    (r"\.net\.3\.", ".fc2."),
)
OFFERED = {"norm": "LN 1e-5", "act": "GELU"}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a NiNformer in its published names."""
    return any(key.endswith("mgu.Mixer.token_mix.2.net.0.weight") for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    for published, ours in RENAMED:
        key = re.sub(published, ours, key)
    return key


def build(case: Mapping) -> Built:
    """Our classifier with the tokens after its blocks for a case."""
    from toolkit.backbones.ninformer import NiNformer

    facts = case["constructor"]
    require(facts, OFFERED)
    size = facts["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    tokens = (height // facts["patch_size"]) * (width // facts["patch_size"])
    if facts.get("seq_len", tokens) != tokens:
        raise NotImplementedCase(f"seq_len {facts['seq_len']}")
    arch = {name: facts[name] for name in ("patch_size", "d_model", "d_ffn", "num_layers")}
    return Built(NiNformer(arch, (height, width), num_classes=facts.get("num_classes", 10)), forward)


def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Logits and `blockI`, tokens."""
    return watched(model, inputs, [(f"block{i}", block) for i, block in enumerate(model.blocks, 1)])


FAMILY = Family("NiNformer", recognises, rename, of_repository("Abdullah-88/NiNformer"), build, verifies=("NiNformer",))
