"""Cases of parity: a model filled by a rule from its published key names, against the published outputs.

A case is two files of one stem: NAME.json (constructor facts, published keys with shapes and dtypes, inputs,
tolerance) and NAME.npz (the outputs that the published implementation gave). No trained weights are stored: both
sides fill every tensor from its published key, so one case proves architecture, order of operations and key map.
"""

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toolkit.errors import UserError
from toolkit.published import convert, families
from toolkit.published.family import Built, NotImplementedCase

REQUIRED = ("name", "source_repo", "constructor", "state", "inputs", "output_shapes", "output_strides", "tolerance")
SHIFTS = ("beta", "offset")
SAMPLE_RATE = 16000.0  # Hz, of inputs of kind "wave"


@dataclass(frozen=True)
class Case:
    """The JSON of a case and the stored outputs, flattened and thinned."""

    facts: Mapping
    expected: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        return self.facts["name"]


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        error: the largest deviation of any output, relative to that output's largest magnitude; None without a run.
        reasons: what failed; empty when all is well.
    """

    name: str
    error: float | None
    tolerance: float | None
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        error, tolerance = ("-" if value is None else f"{value:.2g}" for value in (self.error, self.tolerance))
        return f"{self.name} {error} {tolerance} " + ("ok" if self.ok else f"FAIL ({'; '.join(self.reasons)})")


def read_case(path: Path) -> Case:
    """Read NAME.json and NAME.npz.

    Raises:
        UserError: a file is missing, unreadable, or lacks what a case must have.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such case file")
    try:
        facts = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None
    lacking = [key for key in REQUIRED if key not in facts] if isinstance(facts, dict) else list(REQUIRED)
    if lacking:
        raise UserError(f"{path}: not a case, it lacks {', '.join(lacking)}")
    arrays = path.with_suffix(".npz")
    try:
        with np.load(arrays, allow_pickle=False) as stored:
            expected = dict(stored)
    except FileNotFoundError:
        raise UserError(f"{arrays}: no such file; it holds the outputs of {path.name}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{arrays}: not a file of arrays ({error})") from None
    if not expected or not set(expected) <= set(facts["output_shapes"]):
        raise UserError(f"{arrays}: outputs {sorted(expected)}, the case has {sorted(facts['output_shapes'])}")
    return Case(facts, expected)


def tensor_for(key: str, shape: Sequence[int], dtype: str) -> torch.Tensor:
    """The value of published tensor `key`, the same on every machine; zero where `dtype` is not floating."""
    shape = tuple(shape)
    if not dtype.startswith("float"):
        return torch.zeros(shape, dtype=getattr(torch, dtype))
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        value = 0.5 + rng.rand(*shape)
    elif leaf == "running_mean":
        value = 0.1 * rng.randn(*shape)
    elif not shape:
        value = 0.5 + 0.1 * rng.randn()
    elif len(shape) > 1:
        value = rng.randn(*shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))
    elif "bias" in leaf or leaf in SHIFTS:
        value = 0.1 * rng.randn(*shape)
    else:
        rng.randn(*shape)  # the format takes the second draw for scales
        value = 1.0 + 0.1 * rng.randn(*shape)
    return torch.from_numpy(np.asarray(value, dtype=dtype).reshape(shape))


def input_for(spec: Mapping) -> torch.Tensor:
    """Input of kind `randn`, `rand` (0 to 1) or `wave` (sound in -1 to 1 at 16 kHz: eight tones and noise)."""
    rng, shape = np.random.RandomState(spec["seed"]), tuple(spec["shape"])
    kind = spec.get("kind", "randn")
    if kind == "randn":
        value = rng.randn(*shape)
    elif kind == "rand":
        value = rng.rand(*shape)
    elif kind == "wave":
        time = np.arange(shape[-1]) / SAMPLE_RATE
        tones = zip(rng.uniform(80, 3000, 8), rng.uniform(0, 6, 8), strict=True)
        value = 0.1 * sum(np.sin(2 * np.pi * frequency * time + phase) for frequency, phase in tones)
        value = value + 0.02 * rng.randn(*shape)
    else:
        raise UserError(f"inputs.kind {kind!r} is none of randn, rand, wave")
    return torch.from_numpy(value.astype("float32"))


def published_state(facts: Mapping) -> dict[str, torch.Tensor]:
    """The published state dict of a case; copies of a shared tensor equal the key that is filled."""
    state = {key: tensor_for(key, shape, dtype) for key, shape, dtype in facts["state"]}
    return state | {copy: state[key] for copy, key in facts.get("tied_keys", {}).items() if key in state}


def fill(model: torch.nn.Module, facts: Mapping) -> list[str]:
    """Load the published state of a case into our model as a user would; the problems."""
    if not facts["state"]:  # a part without weights
        return [f"missing {key}" for key in model.state_dict()]
    converted = convert(published_state(facts), model)
    if converted.unexpected or converted.mismatched:
        return converted.problems()
    model.load_state_dict(converted.state_dict, strict=False)
    computed = set(facts.get("computed_buffers", []))
    rename = next((family.rename for family in families() if family.name == converted.recognised), str)
    computed |= {rename(key) for key in computed}
    converted.missing = [key for key in converted.missing if key not in computed and not facts.get("partial_state")]
    return converted.problems()


def count_problem(built: Built, facts: Mapping) -> list[str]:
    """What is wrong with the number of parameters. A cut may be built whole or as far as its keys are recorded."""
    count = sum(parameter.numel() for parameter in built.model.parameters()) + built.unused
    wanted = {facts[key] for key in ("params", "params_recorded") if key in facts}
    if not wanted or count in wanted:
        return []
    return [f"{count} parameters, published {facts['params']}"]


def deviation(got: torch.Tensor, want: np.ndarray, shape: Sequence[int], stride: int) -> float:
    """Largest difference relative to the largest magnitude of `want`; infinite where anything is not finite.

    Raises:
        ValueError: `got` has another shape than `shape`.
    """
    if list(got.shape) != list(shape):
        raise ValueError(f"shape {list(got.shape)}, published {list(shape)}")
    values = got.detach().cpu().numpy().astype("float32").ravel()[::stride]
    if not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(values - want).max() / max(np.abs(want).max(), 1e-12)) if want.size else 0.0


def run_model(built: Built, facts: Mapping) -> dict[str, torch.Tensor]:
    """Outputs by name, in the mode and precision of the case."""
    dtype = getattr(torch, facts.get("dtype", "float32"))
    model = built.model.to(dtype).train(facts.get("mode", "eval") == "train")
    with torch.no_grad():
        return built.forward(model, {spec["name"]: input_for(spec).to(dtype) for spec in facts["inputs"]})


def check(case: Case) -> Verdict:
    """Build, fill, run and compare one case."""
    facts, tolerance = case.facts, case.facts["tolerance"]
    family = next((family for family in families() if family.covers(facts)), None)
    if family is None:
        return Verdict(case.name, None, None, (f"no implementation of {facts['source_repo']}",))
    try:
        built = family.build(facts)
    except NotImplementedCase as error:
        return Verdict(case.name, None, None, (f"no implementation of {error}",))
    except (TypeError, ValueError, KeyError) as error:  # an argument or value that our modules do not know
        return Verdict(case.name, None, None, (f"constructor: {' '.join(str(error).split())}",))
    problems = fill(built.model, facts)
    if problems:
        return Verdict(case.name, None, tolerance, tuple(problems))
    reasons = count_problem(built, facts)
    outputs = run_model(built, facts)
    worst = 0.0
    for name, want in case.expected.items():
        if name not in outputs:
            reasons.append(f"no output {name}")
            continue
        try:
            error = deviation(outputs[name], want, facts["output_shapes"][name], facts["output_strides"][name])
        except ValueError as wrong_shape:
            reasons.append(f"{name}: {wrong_shape}")
            continue
        worst = max(worst, error)
        if error > tolerance:
            reasons.append(f"{name} {error:.2g}")
    return Verdict(case.name, worst, tolerance, tuple(reasons))


def case_files(patterns: Iterable[str]) -> list[Path]:
    """The JSON files that paths, folders and glob patterns stand for; a path that is not there stays, to be reported.

    Raises:
        UserError: a folder or pattern holds no JSON file.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = sorted(path.glob("*.json"))
        elif any(sign in pattern for sign in "*?["):
            matches = sorted(match for match in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        else:
            matches = [path]
        if not matches:
            raise UserError(f"{pattern}: no case files (NAME.json)")
        found += matches
    return found
