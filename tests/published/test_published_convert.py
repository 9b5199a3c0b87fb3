"""Published checkpoints onto our models: wrappers, prefixes, shared tensors, and every key that does not fit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from toolkit.checkpoint import load_into
from toolkit.errors import UserError
from toolkit.published import convert
from toolkit.published.yolo_ms import HEAD, build_detector

KINDS = dict(backbone=dict(type="YOLOMS", arch="C3-K3579"), neck=dict(type="YOLOMSPAFPN", kernel_sizes=[1, 3, 3]))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    from toolkit.ops import load_mmdet

    load_mmdet()
    size = dict(widen_factor=0.1, deepen_factor=1 / 3)
    head = dict(type="RTMDetSepBNHeadModule", num_classes=2, act_cfg=dict(type="LeakyReLU"), widen_factor=0.1)
    facts = {part: facts | size for part, facts in KINDS.items()}
    return build_detector(facts | dict(bbox_head=dict(head_module=head))).model


def published(model: nn.Module) -> dict[str, torch.Tensor]:
    """Another state in the published names."""
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    for key in state:
        first = key.replace("convs.1.", "convs.0.").replace("convs.2.", "convs.0.")
        if key.startswith("bbox_head.") and key.endswith("conv.weight"):
            state[key] = state[first]
    return {key.replace("bbox_head.", HEAD): value for key, value in state.items()}


def test_published_names_are_recognised_and_mapped(model: nn.Module) -> None:
    state = published(model)
    converted = convert(state, model)
    assert converted.recognised == "YOLO-MS"
    assert converted.complete
    for key, value in converted.state_dict.items():
        assert torch.equal(value, state[key.replace("bbox_head.", HEAD)])
    model.load_state_dict(converted.state_dict, strict=True)


def test_our_own_names_pass_through(model: nn.Module) -> None:
    converted = convert(model.state_dict(), model)
    assert converted.recognised is None
    assert converted.complete
    assert converted.state_dict.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: dict(state_dict=state, meta=dict(epoch=3)),
        lambda state: dict(model={f"module.{key}": value for key, value in state.items()}),
        lambda state: dict(state_dict={key: value * 0 for key, value in state.items()}, state_dict_ema=state),
        lambda state: dict(state_dict=state, ema_state_dict=dict(steps=torch.tensor(4))),
        lambda state: dict(ema_state_dict={f"module.{k}": v for k, v in state.items()} | dict(steps=torch.tensor(4))),
        lambda state: state | {"data_preprocessor.mean": torch.zeros(3, 1, 1)},
    ],
    ids=["state_dict", "model and module.", "state_dict_ema", "swapped average", "average alone", "preprocessor"],
)
def test_wrappers_of_training_engines_are_opened(model: nn.Module, wrap) -> None:
    state = published(model)
    converted, plain = convert(wrap(state), model), convert(state, model)
    assert converted.complete
    assert converted.state_dict.keys() == plain.state_dict.keys()
    assert all(torch.equal(value, plain.state_dict[key]) for key, value in converted.state_dict.items())


def test_unmatched_keys_are_all_reported(model: nn.Module) -> None:
    state = published(model)
    lost = f"{HEAD}rtm_cls.0.bias"
    del state[lost]
    state["neck.new.weight"] = torch.zeros(1)
    state["backbone.stem.0.conv.weight"] = torch.zeros(5, 3, 3, 3)
    converted = convert(state, model)
    assert not converted.complete
    assert converted.missing == ["bbox_head.rtm_cls.0.bias"]
    assert converted.unexpected == ["neck.new.weight"]
    assert converted.mismatched == [("backbone.stem.0.conv.weight", (5, 3, 3, 3), (4, 3, 3, 3))]
    assert len(converted.problems()) == 3


def test_one_copy_of_a_shared_tensor_is_enough(model: nn.Module) -> None:
    state = published(model)
    for key in list(state):
        if "convs.1." in key and key.startswith(HEAD) and key.endswith("conv.weight"):
            del state[key]
    converted = convert(state, model)
    assert converted.complete
    first, copy = (converted.state_dict[f"bbox_head.cls_convs.{level}.0.conv.weight"] for level in (0, 1))
    assert torch.equal(first, copy)


def test_a_published_file_loads_like_our_own(model: nn.Module, tmp_path: Path) -> None:
    state = published(model)
    torch.save(dict(state_dict=state), tmp_path / "published.pth")
    loaded = load_into(model, tmp_path / "published.pth")
    assert loaded.recognised == "YOLO-MS"
    assert torch.equal(model.bbox_head.rtm_reg[2].bias, state[f"{HEAD}rtm_reg.2.bias"])
    with torch.no_grad():
        model.bbox_head.rtm_reg[2].bias.zero_()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "own.pth")
    assert load_into(model, tmp_path / "own.pth").recognised is None


def test_a_file_without_weights_is_refused(model: nn.Module) -> None:
    with pytest.raises(UserError, match="no named tensors"):
        convert(dict(epoch=3), model)
