"""STATE as published in wyzjack/MRMGA4VAD.

Its checkpoint files hold nested lists, [row][column][0] of places in the frame, with the scene in front for
ShanghaiTech, of which `toolkit.published.weights.unwrapped` takes the one state dict. Every published checkpoint also
holds parameters that no forward pass reads; they are accepted and dropped.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

STREAM = re.compile(r"^(feature_embedding|encoder|prediction)(_of)?\.(?!\d)")
UNUSED = re.compile(r"(^|\.)encoderlayer\.|attention_heads\.\d+\.feedforward\.|^head\.feedforward\.")
# Published keys within a stream, or within a part of one, in our names, rule after rule.
RULES = tuple(
    (re.compile(published), ours)
    for published, ours in (
        (r"^feature_embedding\.inc\.conv\.conv\.", "encoder.0."),
        (r"^feature_embedding\.down(\d+)\.mpconv\.1\.conv\.", r"encoder.\1."),
        (r"^prediction\.up2\.", "decoder.0."),
        (r"^prediction\.up3\.", "decoder.1."),
        (r"^(decoder\.\d+\.conv\.)conv\.", r"\1"),
        (r"^prediction\.out\.conv\.", "out."),
        (r"^encoder\.encoder\.(\d+)\.(attention_heads|feedforward|GN1)", r"temporal.layers.\1.\2"),
        (r"^encoder\.positionnet\.positional_embedding\.", "temporal.position."),
        (r"^encoder\.(\d+)\.(attention_heads|feedforward|GN1)", r"layers.\1.\2"),
        (r"^positionnet\.positional_embedding\.", "position."),
        (r"\.attention_heads\.", ".heads."),
        (r"\.q_featuremap\.conv0\.0\.", ".query."),
        (r"\.k_v_featuremap\.conv0\.0\.", ".key_value."),
        (r"\.attentionmap\.conv0\.0\.", ".score."),
        (r"\.feedforward\.conv0\.0\.", ".feedforward."),
        (r"\.GN1\.", ".norm."),
    )
)


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a whole published model, of a temporal encoder or of a head."""
    return any(key.endswith("k_v_featuremap.conv0.0.weight") for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names; None for a parameter that no forward pass reads."""
    if UNUSED.search(key):
        return None
    stream = STREAM.match(key)
    if stream:
        key = key.replace("_of.", ".", 1) if stream[2] else key
    for published, ours in RULES:
        key = published.sub(ours, key)
    if stream:
        return f"flow.{key}" if stream[2] else f"raw.{key}"
    return key


def build(case: Mapping) -> Built:
    """Our network, a part of it, or a step around it, for a case."""
    facts, inputs = case["constructor"], {spec["name"] for spec in case["inputs"]}
    if "rectangles" in facts:
        return build_foreground(facts)
    if "video_lengths" in facts:
        return build_patches(facts)
    if "objects_per_frame" in facts:
        return build_scores(facts)
    if "pos" in inputs:
        return build_head(facts)
    return build_network(facts) if "hidden" in facts else build_temporal_encoder(facts)


FIXED = {"residual": True, "use_flow": True, "raw_channels": 3, "flow_channels": 2}


def _number(facts: Mapping, key: str, pattern: str, default: int) -> int:
    """The number that a fact tells in words."""
    found = re.search(pattern, str(facts.get(key, "")))
    return int(found[1]) if found else default


def temporal_arguments(facts: Mapping) -> dict:
    """Facts of a temporal encoder -> arguments of TemporalEncoder without `channels`."""
    require(facts, FIXED)
    return dict(
        layers=facts["layers"],
        heads=facts["heads"],
        positions=_number(facts, "position", r"(\d+) ?x ?\d+", 10),
        groups=_number(facts, "norm", r"(\d+) groups", 4),
    )


def count(module: "nn.Module") -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def unused_parameters(layers: "nn.ModuleList") -> int:
    """Published parameters that a temporal encoder of these layers leaves out: a layer, and a convolution in each head.

    The convolution is as large as a query's.
    """
    heads = layers[0].heads
    return count(layers[0]) + (len(layers) + 1) * len(heads) * count(heads[0].query)


def build_head(facts: Mapping) -> Built:
    """One attention head on the positions that the case gives."""
    from torch import nn

    from toolkit.video.state import AttentionHead, attend

    head = AttentionHead(facts["head_channels"])

    def forward(_: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        out, weights = attend([head], inputs["x"], inputs["pos"])
        return {"out": out, "attention": weights[:, 0]}

    return Built(nn.ModuleDict({"head": head}), forward, count(head.query))


def build_temporal_encoder(facts: Mapping) -> Built:
    """The temporal encoder of one stream."""
    from toolkit.video.state import TemporalEncoder

    model = TemporalEncoder(channels=facts["channels"], **temporal_arguments(facts))
    return Built(model, lambda model, inputs: {"out": model(inputs["x"])}, unused_parameters(model.layers))


def build_network(facts: Mapping) -> Built:
    """The whole network: its outputs and errors, or, with an epsilon, its perturbed scoring."""
    from toolkit.video.state import STATE, perturbed, summed_errors

    if len(facts["hidden"]) != 3:
        raise NotImplementedCase(f"hidden {facts['hidden']}: published with three stages")
    model = STATE(channels=facts["hidden"], **temporal_arguments(facts))

    def scored(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        patches, flow = (inputs[name].unflatten(1, (facts["frames"], -1)) for name in ("x", "flow"))
        outputs = model(patches)
        raw, of_flow = summed_errors(outputs, (patches, flow))
        return dict(raw_out=outputs[0], flow_out=outputs[1], raw_target=patches, flow_target=flow,
                    raw_error=raw, flow_error=of_flow)  # fmt: skip

    def perturbed_and_scored(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        patches, flow = (inputs[name].unflatten(1, (facts["frames"], -1)) for name in ("x", "flow"))
        before = summed_errors(model(patches), (patches, flow))
        moved, gradient = perturbed(model, patches, flow, facts["epsilon"])
        after = summed_errors(model(moved), (moved, flow))
        names = ("raw_error_before", "flow_error_before", "raw_error_after", "flow_error_after")
        found = dict(zip(names, (*before, *after), strict=True))
        return dict(found, gradient_x1e4=gradient.flatten(1, 2) * 1e4, perturbed=moved.flatten(1, 2))

    forward = perturbed_and_scored if "epsilon" in facts else scored
    streams = (model.raw, model.flow)
    return Built(model, forward, sum(unused_parameters(stream.temporal.layers) for stream in streams))


def _step(run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Built:
    """A step without weights that works on arrays."""
    import torch
    from torch import nn

    def forward(_: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "torch.Tensor"]:
        found = run({name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    return Built(nn.Identity(), forward)


def build_foreground(facts: Mapping) -> Built:
    """Boxes of three painted frames and of given detections."""
    from toolkit.video import foreground

    if facts["dataset"] not in foreground.PUBLISHED_RULES:
        raise NotImplementedCase(f"dataset {facts['dataset']!r}")
    rules = foreground.PUBLISHED_RULES[facts["dataset"]]

    def run(_: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        frames = np.full((3, facts["height"], facts["width"], 3), facts["background"], np.uint8)
        for frame, x, y, width, height, colour in facts["rectangles"]:
            frames[frame, y : y + height, x : x + width] = colour
        detected = foreground.detector_boxes(np.array(facts["detections"], np.float32), rules)
        kept = foreground.drop_covered(detected, rules.max_cover)
        moving = foreground.motion_boxes(frames, kept, rules)
        moving = moving[np.lexsort(moving.T[::-1])]
        return dict(detector_boxes=detected, kept_boxes=kept, motion_boxes_sorted=moving)

    return _step(run)


def build_patches(facts: Mapping) -> Built:
    """Patches of given boxes, and the windows of all frames of some videos that lie one behind the other."""
    from toolkit.video.foreground import cut_patches, window

    def windows(radius: int, border: str) -> np.ndarray:
        found, start = [], 0
        for length in facts["video_lengths"]:
            found += [start + window(frame, length, radius, border) for frame in range(length)]
            start += length
        return np.stack(found)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        frames = np.floor(inputs["frames"].astype(np.float64) * 255.999).astype(np.uint8).transpose(0, 2, 3, 1)
        return dict(
            patches=cut_patches(frames, np.array(facts["boxes"]), facts["patch"]),
            window_elastic=windows(facts["context_elastic"], "shift"),
            window_hard=windows(facts["context_hard"], "repeat"),
        )

    return _step(run)


def build_scores(facts: Mapping) -> Built:
    """Scores of objects and frames from given errors, and the AUC of the frames."""
    from toolkit.video.metrics import roc_auc
    from toolkit.video.state import frame_score, standardised

    ends, size = np.cumsum(facts["objects_per_frame"])[:-1], (facts["frame_height"], facts["frame_width"])
    boxes = np.split(np.array(facts["boxes"]).reshape(-1, 4), ends)
    empty = facts["empty_frame_score"]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        errors = {name: _scaled(name, value, facts["scale"]) for name, value in inputs.items()}
        normal = np.stack([errors["train_raw"], errors["train_flow"]], 1)
        found = standardised(np.stack([errors["raw"], errors["flow"]], 1), normal.mean(0), normal.std(0))
        objects = found @ np.array([facts["w_raw"], facts["w_flow"]])
        parts = zip(np.split(objects, ends), boxes, strict=True)
        frames = np.array([frame_score(scores, seen, size, empty) for scores, seen in parts])
        return dict(
            object_scores=objects,
            frame_scores_with_objects=frames[frames > empty],
            frame_has_object=frames > empty,
            auc=np.array([roc_auc(frames, np.array(facts["labels"], bool))]),
        )

    return _step(run)


def _scaled(name: str, value: np.ndarray, rule: str) -> np.ndarray:
    """An input as the error that a case's rule, "NAME errors = [OFFSET + ]FACTOR*NAME; ...", makes of it."""
    found = re.search(rf"(?:^|; ?){name} errors = (?:([\d.]+) ?\+ ?)?([\d.]+) ?\* ?{name}\b", rule)
    if found is None:
        raise NotImplementedCase(f"scale {rule!r}")
    return float(found[1] or 0) + float(found[2]) * value.astype(np.float64)


FAMILY = Family("STATE", recognises, rename, of_repository("wyzjack/MRMGA4VAD"), build)
