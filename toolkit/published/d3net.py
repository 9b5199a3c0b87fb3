"""D2 and D3 blocks as Sony publishes them, in NNabla's parameter names with dots for slashes."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, of_repository, require

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYER = re.compile(r"(?:(initial)_layer|layers\.layer(\d+))\.bottleneck\.(?:(norm)1\.bn|(conv)1\.conv)\.(\w+)$")
BLOCK = re.compile(r"(?:(initial)_block|layers\.layer(\d+))\.$")
LEAVES = {"gamma": "weight", "beta": "bias"}


def recognises(keys: set[str]) -> bool:
    """Whether there is a first layer of a D2 block, and no key of another kind."""
    return any("initial_layer.bottleneck." in key for key in keys) and all(LAYER.search(key) for key in keys)


def rename(key: str) -> str:
    """The published key in our names; what lies before the block stays."""
    layer = LAYER.search(key)
    if layer is None:
        return key
    _, number, norm, conv, leaf = layer.groups()
    scope = BLOCK.sub(lambda block: f"blocks.{block[2] or 0}.", key[: layer.start()])
    return f"{scope}{norm or conv}s.{number or 0}.{LEAVES.get(leaf, leaf)}"


def build(case: Mapping) -> Built:
    """Our D3 block, or our D2 block at the place in a network that its published keys tell."""
    from torch import nn

    from toolkit.modules.conv.multidilated import D2Block, D3Block

    facts = case["constructor"]
    sizes = [facts["in_channels"], facts["growth_rate"], facts["num_layers"]]
    require(facts, dict(bn_eps=1e-5, conv_bias=True, dilations=[2**i for i in range(facts["num_layers"])]))
    kernel_size = facts.get("kernel_size", 3)
    if "n_blocks" in facts:
        block = D3Block(*sizes, facts["n_blocks"], kernel_size)
        first = "blocks.0.norms.0."
    else:
        block = D2Block(*sizes, kernel_size)
        first = "norms.0."
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None  # NNabla does not count
    scopes = {key[: -len(first + "weight")] for key in map(rename, _keys(case)) if key.endswith(first + "weight")}
    return _placed(block, min(scopes, key=len, default=""))


def _keys(case: Mapping) -> list[str]:
    return [key for key, *_ in case["state"]]


def _placed(block: "nn.Module", scope: str) -> Built:
    """`block` within as many modules as `scope` ("a.b.") has names."""
    from torch import nn

    model = block
    for name in reversed(scope.split(".")[:-1]):
        outer = nn.Module()
        outer.add_module(name, model)
        model = outer

    def forward(_: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        return {"y": block(inputs["x"])}

    return Built(model, forward)


VERIFIES = ("D2Block", "D3Block")
FAMILY = Family("D3Net", recognises, rename, of_repository("sony/ai-research-code"), build, VERIFIES)
