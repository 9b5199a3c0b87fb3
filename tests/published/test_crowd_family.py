import pytest
import torch
from mmengine.registry import MODELS

import toolkit  # noqa: F401
from toolkit.published import convert
from toolkit.published.crowd import rename


def published(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a network of ours in the names of the published files."""
    state = {}
    for key, value in network.state_dict().items():
        for ours, theirs in (
            ("context.scales.0.", "spm.can.scales.0.1."),
            ("context.scales.1.", "spm.can.scales.1.1."),
            ("context.scales.2.", "spm.can.scales.2.1."),
            ("context.scales.3.", "spm.can.scales.3.1."),
            ("context.", "spm.can."),
            ("aspp.mean_branch.conv.", "spm.assp.global_avg_pool.1."),
            ("aspp.mean_branch.bn.", "spm.assp.global_avg_pool.2."),
            ("aspp.project.conv.", "spm.assp.conv1."),
            ("aspp.project.bn.", "spm.assp.bn1."),
            *((f"aspp.branches.{i}.conv.", f"spm.assp.aspp{i + 1}.atrous_conv.") for i in range(4)),
            *((f"aspp.branches.{i}.bn.", f"spm.assp.aspp{i + 1}.bn.") for i in range(4)),
            ("head.conv_att.0.", "conv_att.conv."),
            ("head.conv_att.1.", "conv_att.bn."),
            ("head.conv_out.", "conv_out.conv."),
            ("conv_out.", "conv_out.conv."),
            ("reg_layer.", "spm.reg_layer." if "SFA" in type(network).__name__ else "dmp.reg_layer."),
        ):
            if key.startswith(ours):
                key = theirs + key.removeprefix(ours)
                break
        state[key] = value
    return state


@pytest.mark.parametrize("kind", ["MSFANet", "MSegNet", "MSFANetQNRF", "MSegNetQNRF"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_files_load_bare_and_into_a_counter(kind: str, wrapped: bool):
    torch.manual_seed(0)
    config = dict(type=kind, widen_factor=0.0625)
    theirs = MODELS.build(config)
    state = published(theirs)
    if not kind.endswith("QNRF"):
        state["conv_out.bn.weight"] = torch.ones(1)  # stored and never used
        state = {"model": state}
    counter = MODELS.build(dict(type="CrowdCounter", network=config))
    model = counter if wrapped else counter.network
    converted = convert(state, model)
    assert converted.recognised == "M-SFANet and M-SegNet"
    assert converted.complete, converted.problems()
    model.load_state_dict(converted.state_dict)
    x = torch.randn(1, 3, 64, 64)
    ours, expected = counter.network.eval()(x), theirs.eval()(x)
    for one, other in zip(ours if isinstance(ours, tuple) else [ours], expected, strict=False):
        torch.testing.assert_close(one.reshape(-1), other.reshape(-1))


def test_renaming_an_own_name_changes_nothing():
    for kind in ("MSFANet", "MSegNetQNRF"):
        for key in MODELS.build(dict(type=kind, widen_factor=0.0625)).state_dict():
            assert rename(key) == key
