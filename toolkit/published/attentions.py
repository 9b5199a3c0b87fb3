"""Attention modules as published: squeeze & excitation in space and channels, ECA, ELA's reproductions."""

from collections.abc import Mapping

from toolkit.published.family import Built, Family, NotImplementedCase

KEYS = (
    {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"},
    {"cSE.fc1.weight", "sSE.conv.weight"},
    {"con1.weight", "GN.weight", "GN.bias"},
)
REPOSITORIES = ("ai-med/squeeze_and_excitation", "BangguWu/ECANet", "none by the authors; third-party reproductions")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of one module alone: their names are ours."""
    return any(some <= keys and len(keys) <= 6 for some in KEYS)


def covers(case: Mapping) -> bool:
    """Whether the case is of one of these repositories."""
    return case["source_repo"].rstrip("/").endswith(REPOSITORIES)


def build(case: Mapping) -> Built:
    """Our module for a case."""
    from toolkit.modules.attention.eca import ECA
    from toolkit.modules.attention.ela import ELA, VARIANTS
    from toolkit.modules.attention.scse import cSE, scSE, sSE

    facts, keys = case["constructor"], {key for key, *_ in case["state"]}
    if "k_size" in facts and "channel" in facts:
        model = ECA(facts["channel"], facts["k_size"])
    elif "num_groups" in facts:
        channels = facts["channels"]
        wanted = (facts["kernel_size"], channels // facts["groups"], facts["num_groups"])
        variant = next((name for name, sizes in VARIANTS.items() if sizes == wanted), None)
        if variant is None or facts["gn_eps"] != 1e-5:
            raise NotImplementedCase(f"ELA of {facts}")
        model = ELA(channels, variant)
    elif "num_channels" in facts:
        channels, reduction = facts["num_channels"], facts.get("reduction_ratio", 2)
        if "cSE.fc1.weight" in keys:
            model = scSE(channels, reduction)
        else:
            model = cSE(channels, reduction) if "fc1.weight" in keys else sSE(channels)
    else:
        raise NotImplementedCase(f"a network of {sorted(facts)}")
    return Built(model, lambda model, inputs: {"out": model(inputs["x"])})


FAMILY = Family("attention modules", recognises, str, covers, build, ("cSE", "sSE", "scSE", "ECA", "ELA"))
