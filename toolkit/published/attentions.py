"""Attention modules as published: squeeze & excitation in its forms, ECA, ELA's reproductions, ULSAM, RCMHA."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, require

if TYPE_CHECKING:
    from torch import Tensor, nn

ALONE = (
    {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"},
    {"cSE.fc1.weight", "sSE.conv.weight"},
    {"con1.weight", "GN.weight", "GN.bias"},
)
SIGNS = re.compile(r"(^|\.)(subspaces\.\d+\.conv_dws\.weight|key_pos_embeddings|fc0\.weight|eca\.conv\.weight)$")
VERIFIES = ("cSE", "sSE", "scSE", "ECA", "ECAResNet", "ELA", "ULSAM", "DCCA", "GDCCA", "RCMHA")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of one small module alone, whose names are ours, or show one of the others."""
    return any(some <= keys and len(keys) <= 6 for some in ALONE) or any(SIGNS.search(key) for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    return re.sub(r"\b(query|key|value)\.(0\.linear|1\.conv)\.", lambda m: f"{m[1]}.{m[2][2:]}.", key)


def adapt(state_dict: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The checkpoint with the groups of ULSAM joined, DCCA under the model's name for it, and GDCCA's gate off."""
    import torch

    own, found = model.state_dict(keep_vars=True), {}
    for key, value in state_dict.items():
        if match := re.fullmatch(r"(.*?)subspaces\.(\d+)\.(.+)", key):
            if match[2] == "0":
                parts = [state_dict[f"{match[1]}subspaces.{i}.{match[3]}"] for i in range(count(state_dict, match[1]))]
                found[match[1] + match[3]] = torch.cat(parts) if value.dim() else value
            continue
        names = [key, *(key.replace(".se_module.", f".{name}.") for name in ("dcca", "gdcca"))]
        found[next((name for name in names if name in own), key)] = value
    gates = [key for key in own if key.endswith("gate") and key.removesuffix("gate") + "fc0.weight" in found]
    return found | {key: torch.tensor(False) for key in gates if key not in found}


def count(keys: Mapping, prefix: str) -> int:
    """Groups of the ULSAM at `prefix`."""
    return sum(f"{prefix}subspaces.{i}.conv_dws.weight" in keys for i in range(len(keys)))


def covers(case: Mapping) -> bool:
    """Whether the case is of one of these repositories."""
    return case["source_repo"].rstrip("/") in BUILDERS


def build(case: Mapping) -> Built:
    """Our module for a case."""
    return BUILDERS[case["source_repo"].rstrip("/")](case["constructor"], {key for key, *_ in case["state"]})


def of(model: "nn.Module") -> Built:
    """A module of one input and one output."""
    return Built(model, lambda model, inputs: {"out": model(inputs["x"])})


def build_se(facts: Mapping, keys: set[str]) -> Built:
    """In channels, in space, or both."""
    from toolkit.modules.attention.scse import cSE, scSE, sSE

    channels, reduction = facts["num_channels"], facts.get("reduction_ratio", 2)
    if "cSE.fc1.weight" in keys:
        return of(scSE(channels, reduction))
    return of(cSE(channels, reduction) if "fc1.weight" in keys else sSE(channels))


def build_eca(facts: Mapping, _: set[str]) -> Built:
    """The module, or a ResNet with its classifier."""
    from toolkit.modules.attention.eca import ECA

    if "depth" not in facts:
        return of(ECA(facts["channel"], facts["k_size"]))
    from toolkit.backbones.eca_resnet import ECAResNet

    require(facts, dict(bn_eps=1e-5))
    return of_classifier(ECAResNet(facts["depth"], kernel_sizes=facts["k_size"]), facts["num_classes"])


def of_classifier(model: "nn.Module", classes: int) -> Built:
    """A ResNet with a linear layer, and its maps as layer1 ..."""
    from torch import nn

    model.fc = nn.Linear(model.feat_dim, classes)

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        maps = model(inputs["x"])
        return {f"layer{i}": x for i, x in enumerate(maps, 1)} | {"logits": model.fc(maps[-1].mean((2, 3)))}

    return Built(model, forward)


def build_ela(facts: Mapping, _: set[str]) -> Built:
    """One of the four sizes."""
    from toolkit.modules.attention.ela import ELA, VARIANTS

    channels = facts["channels"]
    wanted = (facts["kernel_size"], channels // facts["groups"], facts["num_groups"])
    variant = next((name for name, sizes in VARIANTS.items() if sizes == wanted), None)
    if variant is None or facts["gn_eps"] != 1e-5:
        raise NotImplementedCase(f"ELA of {facts}")
    return of(ELA(channels, variant))


def build_ulsam(facts: Mapping, _: set[str]) -> Built:
    """The module; `scaled` is what it adds, enlarged."""
    from toolkit.modules.attention.ulsam import ULSAM

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        x = inputs["x"]
        out = model(x)
        return {"out": out, "scaled": (out - x) * x[0, 0].numel()}

    return Built(ULSAM(facts["nin"], facts["num_splits"]), forward)


def build_dcca(facts: Mapping, _: set[str]) -> Built:
    """In training and in evaluation."""
    from toolkit.modules.attention.dcca import DCCA

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {"train": model.train()(inputs["x"]), "eval": model.eval()(inputs["x"])}

    return Built(DCCA(facts["channels"], facts["reduction"]), forward)


def build_gdcca(facts: Mapping, _: set[str]) -> Built:
    """Trained on a batch of two domains alike, then on one of two that differ, with evaluation after each."""
    from toolkit.modules.attention.dcca import GDCCA

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        import torch

        x, y = inputs["x"], inputs["y"]
        alike = torch.cat((x, x + 0.01 * y)).abs()
        apart = torch.cat((x, 0.3 * 3 * y.abs() + 4)).abs()
        outputs = {}
        for number, (name, batch) in enumerate((("on", alike), ("off", apart)), 1):
            outputs[f"train_gate_{name}"] = model.train()(batch)
            outputs[f"gate{number}"] = model.gate.float().view(1)
            outputs[f"eval_after_{name}"] = model.eval()(alike)
        return outputs

    return Built(GDCCA(facts["channels"], facts["reduction"], facts["gate_eta"]), forward)


def build_rcmha(facts: Mapping, _: set[str]) -> Built:
    """Attention to itself, and to a memory before it and its own past."""
    from toolkit.modules.attention.rcmha import RCMHA

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        import torch

        x, memory = inputs["x"].transpose(0, 1), inputs["mem"].transpose(0, 1)
        past = torch.ones(x.shape[1], memory.shape[1] + x.shape[1], dtype=torch.bool).tril(memory.shape[1])
        both = model(x, torch.cat((memory, x), 1), past)
        return {"plain": model(x).transpose(0, 1), "memory_causal": both.transpose(0, 1)}

    return Built(RCMHA(facts["d_model"], facts["heads"], facts["kernel_size"], facts["P"], facts["dropout"]), forward)


BUILDERS = {
    "ai-med/squeeze_and_excitation": build_se,
    "BangguWu/ECANet": build_eca,
    "none by the authors; third-party reproductions": build_ela,
    "Nandan91/ULSAM": build_ulsam,
    "BIT-DA/DCAN": build_dcca,
    "BIT-DA/GDCAN": build_gdcca,
    "hermansh-id/rcmha": build_rcmha,
}
FAMILY = Family("attention modules", recognises, rename, covers, build, VERIFIES, adapt)
