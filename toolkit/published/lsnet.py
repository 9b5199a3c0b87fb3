"""LSNet as published: stages are called blocks1 to blocks4, and residuals hold what they go around as `m`."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository

if TYPE_CHECKING:
    from torch import Tensor, nn

    from toolkit.backbones.lsnet import LSNet

TABLE = "attention_biases"
SIGNS = re.compile(r"(^|\.)lkp\.cv1\.c\.weight$|\.mixer\.m\.attention_biases$")
COMPUTED = re.compile(r"\.(attention_bias_idxs|ab)$")
STAGE = re.compile(r"(^|\.)blocks(\d+)\.")
INNER = re.compile(r"\.(mixer|ffn)\.m\.")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network or of one LSConv."""
    return any(SIGNS.search(key) for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names; None for the index of the table of biases."""
    if COMPUTED.search(key):
        return None
    key = STAGE.sub(lambda found: f"{found[1]}stages.{int(found[2]) - 1}.", key)
    return INNER.sub(r".\1.", key).replace(".mixer.proj.1.", ".mixer.proj.")


def adapt(state_dict: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The checkpoint with its tables of biases at the size of the model's."""
    from toolkit.backbones.lsnet import resized_table

    sizes = {key: round(value.shape[1] ** 0.5) for key, value in model.state_dict().items() if key.endswith(TABLE)}
    return {
        key: resized_table(value, sizes[rename(key)]) if rename(key) in sizes else value
        for key, value in state_dict.items()
    }


def build(case: Mapping) -> Built:
    """Our operator, layer or network for a case."""
    facts = case["constructor"]
    if "weight_groups" in facts:
        return build_ska()
    return build_layer(facts) if "dim" in facts else build_network(facts, case["output_shapes"])


def build_ska() -> Built:
    """The operator."""
    from torch import nn

    from toolkit.modules.conv.lsconv import ska

    return Built(nn.Identity(), lambda _, inputs: {"out": ska(inputs["x"], inputs["w"])})


def layer_arguments(facts: Mapping) -> dict[str, int]:
    """Published arguments of the layer as ours."""
    names = {"lks": "large_kernel_size", "sks": "small_kernel_size", "groups": "groups"}
    return {ours: facts[name] for name, ours in names.items() if name in facts}


def build_layer(facts: Mapping) -> Built:
    """One LSConv."""
    from toolkit.modules.conv.lsconv import LSConv

    layer = LSConv(facts["dim"], **layer_arguments(facts))
    return Built(layer, lambda model, inputs: {"out": model(inputs["x"])})


def build_network(facts: Mapping, wanted: Iterable[str]) -> Built:
    """The network, with what it gives after every stage and block and, as `head`, the logits of the last of these."""
    from toolkit.backbones.lsnet import LSNet

    if facts.get("patch_size", 8) != 8:
        raise NotImplementedCase(f"patch_size {facts['patch_size']}")
    if any(value != dict(lks=7, sks=3, groups=8)[name] for name, value in facts.get("lkp", {}).items()):
        raise NotImplementedCase(f"lkp {facts['lkp']}")
    key_dim = facts.get("key_dim", 16)
    arch = dict(
        embed_dim=facts["embed_dim"],
        depth=facts["depth"],
        heads=facts["num_heads"][-1],
        key_dim=key_dim if isinstance(key_dim, int) else key_dim[-1],
    )
    is_detector = facts.get("head") == "none"
    model = LSNet(
        arch,
        num_classes=None if is_detector else facts.get("num_classes", 1000),
        distillation=facts.get("distillation", False) and not is_detector,
        grid=facts.get("attention_resolution", 14 if is_detector else -(-facts.get("img_size", 224) // 64)),
    )
    cut = max((name for name in wanted if re.match(r"blocks\d+_first", name)), key=_place, default=None)
    return Built(model, lambda model, inputs: outputs(model, inputs, cut))


def _place(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def outputs(model: "LSNet", inputs: "dict[str, Tensor]", cut: str | None) -> "dict[str, Tensor]":
    """Maps by their published names, of the picture and of a second input that goes into the last stage.

    `head` are the logits of map `cut`.
    """
    found: dict[str, Tensor] = {}
    for name, x in inputs.items():
        is_picture = name in ("image", "x")
        stages = range(len(model.stages)) if is_picture else [len(model.stages) - 1]
        x = model.patch_embed(x) if is_picture else x
        for i in stages:
            downs = 2 if i else 0
            for j, layer in enumerate(model.stages[i]):
                x = found[f"blocks{i + 1}_first{j + 1}"] = layer(x)
                if j >= downs:
                    found[f"stage{i + 1}_block{j - downs}"] = found[f"block{j - downs}"] = x
            found[f"stage{i + 1}"] = found[f"blocks{i + 1}"] = found[f"out{i}"] = x
        if model.num_classes is not None:
            found["logits"] = model.logits(x)
            found["head"] = model.logits(found[cut] if cut and found[cut].shape[1] == x.shape[1] else x)
    return found


FAMILY = Family("LSNet", recognises, rename, of_repository("jameslahm/lsnet"), build, ("LSConv", "LSNet"), adapt)
