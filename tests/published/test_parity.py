"""Parity cases through the command. The stored outputs in tests/parity are thinned to at most 800 values each."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.commands.parity import main
from toolkit.published.parity import Case, check, deviation, input_for, read_case, tensor_for

CASES = Path(__file__).resolve().parent.parent / "parity"


def copy_case(name: str, folder: Path, **changes: object) -> Path:
    """A case with some keys changed, in `folder`."""
    shutil.copyfile(CASES / f"{name}.npz", folder / f"{name}.npz")
    facts = json.loads((CASES / f"{name}.json").read_text())
    path = folder / f"{name}.json"
    path.write_text(json.dumps(facts | changes))
    return path


def facts_of(name: str) -> dict:
    return json.loads((CASES / f"{name}.json").read_text())


KINDS = ("attn", "bvr", "conv", "crowd", "sepc", "yolo")  # audio and video have files of their own


@pytest.mark.parametrize("name", sorted(path.stem for kind in KINDS for path in CASES.glob(f"{kind}*.json")))
def test_our_models_give_the_published_outputs(name: str, capsys: pytest.CaptureFixture) -> None:
    assert main([str(CASES / f"{name}.json")]) == 0
    line = capsys.readouterr().out.splitlines()[0].split()
    assert line[0] == name
    assert line[3] == "ok"
    assert float(line[1]) <= float(line[2]) == json.loads((CASES / f"{name}.json").read_text())["tolerance"]


def test_folders_and_patterns_stand_for_their_cases(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    copy_case("yoloms_msblock_k5", tmp_path)
    copy_case("yoloms_msblock_neck", tmp_path)
    assert main([str(tmp_path)]) == 0
    from_folder = capsys.readouterr().out
    assert main([str(tmp_path / "yoloms_*.json")]) == 0
    assert capsys.readouterr().out == from_folder
    assert from_folder.count(" ok\n") == 2


def test_other_outputs_fail(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    name = "yoloms_msblock_k5"
    inputs = [dict(facts_of(name)["inputs"][0], seed=2)]
    assert main([str(copy_case(name, tmp_path, inputs=inputs))]) == 1
    assert "FAIL (out " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state[1:], "missing block.in_conv.conv.weight"),
        (lambda state: [*state, ["block.extra.weight", [3], "float32"]], "unexpected block.extra.weight"),
        (
            lambda state: [["block.in_conv.conv.weight", [2, 2], "float32"], *state[1:]],
            "block.in_conv.conv.weight has shape [2, 2], the model's is [192, 64, 1, 1]",
        ),
    ],
)
def test_every_key_that_does_not_fit_is_named(change, reason: str) -> None:
    case = read_case(CASES / "yoloms_msblock_k5.json")
    assert case.facts["state"][0][0] == "block.in_conv.conv.weight"
    verdict = check(Case(dict(case.facts, state=change(case.facts["state"])), case.expected))
    assert not verdict.ok
    assert reason in verdict.reasons


def test_a_wrong_parameter_count_fails() -> None:
    case = read_case(CASES / "yoloms_msblock_k5.json")
    verdict = check(Case(dict(case.facts, params=case.facts["params"] + 1), case.expected))
    assert verdict.reasons == ("118400 parameters, published 118401",)


def test_computed_and_partial_states_may_lack_keys() -> None:
    case = read_case(CASES / "yoloms_msblock_k5.json")
    key = case.facts["state"][0][0]
    for excuse in (dict(computed_buffers=[key]), dict(partial_state=True)):
        verdict = check(Case(dict(case.facts, state=case.facts["state"][1:], **excuse), case.expected))
        assert verdict.error > 1e-4  # it ran, with a random tensor
        assert not any("missing" in reason for reason in verdict.reasons)


def test_families_and_constructors_that_we_lack_are_named(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    name = "yoloms_msblock_k5"
    assert main([str(copy_case(name, tmp_path, source_repo="someone/else"))]) == 1
    assert capsys.readouterr().out.startswith(f"{name} - - FAIL (no implementation of someone/else)")
    constructor = dict(facts_of(name)["constructor"], kernel_sizes=[1, [5, 3], [5, 5]])
    assert main([str(copy_case(name, tmp_path, constructor=constructor))]) == 1
    assert "FAIL (no implementation of kernel_sizes" in capsys.readouterr().out
    constructor = dict(facts_of(name)["constructor"], attention_cfg=dict(type="SE", ratio=4))
    assert main([str(copy_case(name, tmp_path, constructor=constructor))]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{name} - - FAIL (constructor: ")
    assert "ratio" in out[0]


def test_broken_files_are_listed_and_the_rest_goes_on(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    lone = copy_case("yoloms_msblock_neck", tmp_path)
    lone.with_suffix(".npz").unlink()
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "other.json").write_text('{"name": "other"}')
    cut = copy_case("yoloms_msblock_k5", tmp_path).with_suffix(".npz")
    cut.write_bytes(cut.read_bytes()[:1000])
    good = CASES / "yoloms_msblock_k5.json"
    assert main([str(tmp_path), str(tmp_path / "gone.json"), str(good)]) == 2
    out, err = capsys.readouterr()
    assert "1 ok, 0 failed, 5 unreadable" in out
    for part in ("yoloms_msblock_neck.npz: no such file", "text.json: not a JSON", "other.json: not a case, it lacks",
                 "gone.json: no such case file", "yoloms_msblock_k5.npz: not a file of arrays"):  # fmt: skip
        assert part in err


def test_deviation_is_relative_to_the_largest_magnitude() -> None:
    want = np.array([4.0, -8.0, 2.0], dtype="float32")
    got = torch.tensor([[4.0, 0.0], [-8.0, 0.0], [1.0, 0.0]])
    assert deviation(got, want, [3, 2], 2) == 1 / 8
    assert deviation(got / 0, want, [3, 2], 2) == float("inf")
    with pytest.raises(ValueError, match=r"shape \[3, 2\], published \[2, 3\]"):
        deviation(got, want, [2, 3], 2)


def test_inputs_and_tensors_come_from_seed_and_name() -> None:
    spec = dict(shape=[2, 3], seed=5)
    assert np.allclose(input_for(spec), np.random.RandomState(5).randn(2, 3))
    assert np.allclose(input_for(spec | dict(kind="rand")), np.random.RandomState(5).rand(2, 3))
    wave = input_for(dict(shape=[1, 16000], seed=0, kind="wave"))
    loudest = np.abs(np.fft.rfft(wave[0].numpy())).argsort()[-8:]  # 1 Hz a bin
    assert loudest.min() >= 79
    assert loudest.max() <= 3001
    assert torch.equal(tensor_for("a.num_batches_tracked", [], "int64"), torch.tensor(0))
    assert tensor_for("bn.running_var", [1000], "float32").min() >= 0.5
    assert abs(tensor_for("conv.weight", [64, 16, 3, 3], "float32").std() - 1 / 12) < 0.002
    assert not torch.equal(tensor_for("a.weight", [8], "float32"), tensor_for("b.weight", [8], "float32"))


@pytest.mark.shared
def test_the_rule_is_the_format_s(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("parity_format", shared / "parity" / "parity.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    shapes = ([], [7], [4, 3], [4, 3, 2, 2])
    names = ("x.weight", "x.bias", "x.running_mean", "x.running_var", "x.gamma", "x.beta", "offset", "x.rel_bias_table")
    for name in names:
        for shape in shapes[1:] if "running" in name else shapes:
            for dtype in ("float32", "float64", "int64"):
                assert np.array_equal(tensor_for(name, shape, dtype).numpy(), theirs.tensor_for(name, shape, dtype))
    for kind in ("randn", "rand", "wave"):
        spec = dict(shape=[2, 500], seed=3, kind=kind)
        assert torch.equal(input_for(spec), theirs.input_for(spec))


@pytest.mark.shared
def test_every_published_case_of_yolo_ms(shared: Path) -> None:
    cases = shared / "parity" / "cases"
    assert main([str(cases / "yoloms_*.json"), str(cases / "yolov8ms_*.json")]) == 0
