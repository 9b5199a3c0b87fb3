"""SpaRTAN as published: our modules carry the published names."""

from collections.abc import Mapping

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, stages_and_logits

FIXED = {  # what we offer of facts told in words: the start of the text
    "stem": "3x3 s2 p1 Conv-BN-GELU",
    "downsample": "2x2 s2 bias-free conv, BN, SiLU",
    "block_norm": "GroupNorm with one group, eps 1e-6",
    "bn_eps": "1e-06",
}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a SpaRTAN."""
    return any(key.endswith("smixer.h_conv.conv.weight") for key in keys)


def build(case: Mapping) -> Built:
    """Our classifier with its maps for a case."""
    from toolkit.backbones.spartan import SpaRTAN

    facts = case["constructor"]
    for name, text in FIXED.items():
        if not str(facts.get(name, text)).startswith(text):
            raise NotImplementedCase(f"{name} {facts[name]!r}")
    dims = (facts["init_dim"], *facts["dims"])
    if len({facts.get("num_layer", len(dims)), len(dims), len(facts["layer_depths"])}) > 1:
        raise NotImplementedCase(f"num_layer {facts.get('num_layer')} with dims {dims}")
    arch = dict(dims=dims, depths=facts["layer_depths"], expand_ratios=facts["expand_ratios"])
    model = SpaRTAN(arch, out_indices=range(len(dims)), num_classes=facts.get("num_classes", 1000))
    return Built(model, stages_and_logits)


FAMILY = Family("SpaRTAN", recognises, str, of_repository("henry-pay/SpaRTAN"), build, verifies=("SpaRTAN",))
