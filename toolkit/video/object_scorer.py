"""A video's objects rebuilt by a network such as STATE: training on normal ones, and scores by how far others are off.

Making Reconstruction-based Method Great Again for Video Anomaly Detection, ICDM 2022, arXiv 2301.12048.
"""

from collections.abc import Iterator, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import DataLoader
from tqdm import tqdm

from toolkit.video.objects import ObjectExtractor
from toolkit.video.samples import SegmentSamples
from toolkit.video.scorer import HEAT, AnomalyScorer, Regions, Segment
from toolkit.video.state import Pair, rebuilt, standardised, summed_errors

BATCH, STEP = 32, 8  # objects at once at most, and what their number is a multiple of


def context(radius: int) -> tuple[int, int]:
    """Frames before and after an object's that are needed, where windows are shifted into a video's ends.

    The last frame of a window has a flow to the one behind it.
    """
    return 2 * radius, radius + 1


@MODELS.register_module()
class ObjectScorer(AnomalyScorer):
    """Objects, a network that rebuilds their frames and predicts their flow, and the errors of normal objects.

    Args:
        network: config of a network such as STATE: (B, T, 3, S, S) -> the same and (B, T, 2, S, S).
        extractor: arguments of `ObjectExtractor`.
        epsilon: size of the step before scoring, in units of the patches, which are in [0, 1]; 0 for none.
        raw_weight: w_raw of an object's score.
        flow_weight: w_flow of an object's score.
        empty_score: of a frame without objects. None gives it what an object without any error would get.
        max_side: see `AnomalyScorer`.
        smooth_seconds: see `AnomalyScorer`.
    """

    parts = ("raw", "flow")

    def __init__(
        self,
        network: dict,
        extractor: dict,
        epsilon: float = 0.0,
        raw_weight: float = 1.0,
        flow_weight: float = 1.0,
        empty_score: float | None = None,
        max_side: int = 640,
        smooth_seconds: float = 0.0,
    ):
        super().__init__(max_side, smooth_seconds)
        self.network = MODELS.build(network)
        self.epsilon, self.raw_weight, self.flow_weight, self._empty = epsilon, raw_weight, flow_weight, empty_score
        self.before, self.after = context(extractor.get("radius", 3))
        self._extractor, self._extracts = deepcopy(extractor), None
        self.register_buffer("normal_mean", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("normal_std", torch.zeros(2, dtype=torch.float64))

    @property
    def extractor(self) -> ObjectExtractor:
        """Made when it is first needed: training does without."""
        if self._extracts is None:
            self._extracts = ObjectExtractor(**self._extractor)
        return self._extracts

    def forward(self, patches: Tensor, flow: Tensor | None = None, mode: str = "tensor") -> Any:
        """Rebuilt objects, or the losses of them.

        Args:
            patches: (B, T, 3, S, S) uint8 BGR.
            flow: (B, T, 2, S, S), pixels per frame, for mode "loss".
            mode: "loss" for a dict of losses, else frames and flow.
        """
        patches = patches.float() / 255
        outputs = self.network(patches)
        if mode != "loss":
            return outputs
        targets = (patches, flow.float())
        pairs = zip(("loss_raw", "loss_flow"), outputs, targets, strict=True)
        return {name: (target - output).square().mean() for name, output, target in pairs}

    def measure(self, frames: Sequence[np.ndarray], targets: range) -> list[Regions]:
        """See `AnomalyScorer`. The network is to be in eval mode."""
        found = self.extractor.extract(frames, targets)
        patches = np.concatenate([one.patches for one in found])
        flow = np.concatenate([one.flow for one in found])
        errors, heat = self.object_errors(patches, flow, self.epsilon)
        ends = np.cumsum([len(one.boxes) for one in found])[:-1]
        parts = zip(found, np.split(errors, ends), np.split(heat, ends), strict=True)
        return [Regions(one.boxes, of_frame, where) for one, of_frame, where in parts]

    def object_errors(self, patches: np.ndarray, flow: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        """Errors (N, 2) of frames and of flow, and where they are (N, 16, 16), after a step of `epsilon`.

        Objects do not influence each other. The picture of errors is that of the raw frames' mean and of the flow's,
        each by its own spread over normal objects.
        """
        errors, heat = [np.zeros((0, 2), np.float32)], [np.zeros((0, HEAT, HEAT), np.float32)]
        for start in range(0, len(patches), BATCH):
            end = min(start + BATCH, len(patches))
            # oneDNN keeps memory for every size of batch that it has met: the last object stands in up to a few sizes
            rows = np.arange(start, start + -(-(end - start) // STEP) * STEP).clip(max=end - 1)
            raw = torch.from_numpy(patches[rows]).to(self.device).float() / 255
            of_flow = torch.from_numpy(flow[rows]).to(self.device).float()
            outputs, aims = rebuilt(self.network, raw, of_flow, epsilon)
            errors.append(torch.stack(summed_errors(outputs, aims), 1)[: end - start].cpu().numpy())
            heat.append(self._heat(outputs, aims)[: end - start].cpu().numpy())
        return np.concatenate(errors), np.concatenate(heat)

    def _heat(self, outputs: Pair, targets: Pair) -> Tensor:
        weights = 1 / self.normal_std.clamp(min=1e-12)
        maps = [(target - output).square().sum((1, 2)) for output, target in zip(outputs, targets, strict=True)]
        return adaptive_avg_pool2d(sum(w * one for w, one in zip(weights.tolist(), maps, strict=True)), HEAT)

    def region_scores(self, errors: np.ndarray) -> np.ndarray:
        """Scores (N,): w_raw (raw - mean) / std + w_flow (flow - mean) / std."""
        statistics = (value.cpu().numpy() for value in (self.normal_mean, self.normal_std))
        return standardised(errors, *statistics) @ np.array([self.raw_weight, self.flow_weight])

    def variants(self) -> list[tuple[str, "ObjectScorer"]]:
        """Frames alone, flow alone and both, each with the step before scoring (if there is one) and without."""
        found = []
        for epsilon in dict.fromkeys((0.0, self.epsilon)):
            for name, raw, flow in (("raw", 1, 0), ("flow", 0, 1), ("raw + flow", 1, 1)):
                variant = copy(self)
                variant.epsilon = epsilon
                variant.raw_weight, variant.flow_weight = raw * self.raw_weight, flow * self.flow_weight
                found.append((f"{name}, perturbed" if epsilon else name, variant))
        return found

    def measure_settings(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}

    @property
    def empty_score(self) -> float:
        """Of a frame without objects."""
        return float(self.region_scores(np.zeros((1, 2)))[0]) if self._empty is None else self._empty

    def learn_statistics(self, objects: "ObjectPatches") -> None:
        """Keep mean and deviation of the errors of normal objects, without a step, as published."""
        was_training = self.training
        self.eval()
        errors = np.concatenate([self.object_errors(*batch, epsilon=0.0)[0] for batch in _batches(objects)])
        self.normal_mean.copy_(torch.from_numpy(errors.mean(0, dtype=np.float64)))
        self.normal_std.copy_(torch.from_numpy(errors.std(0, dtype=np.float64)))
        self.train(was_training)


def _batches(objects: "ObjectPatches") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    loader = DataLoader(objects, batch_size=4 * BATCH)
    for batch in tqdm(loader, desc="normal objects", unit_scale=4 * BATCH, unit=" objects", disable=None):
        yield batch["patches"].numpy(), batch["flow"].numpy()


@DATASETS.register_module()
class ObjectPatches(SegmentSamples):
    """Objects of normal videos: dicts of patches (T, 3, S, S) uint8 BGR and flow (T, 2, S, S) float16.

    Args:
        sources: see `SegmentSamples`, as are `cache`, `part` and `samples`.
        extractor: arguments of `ObjectExtractor`.
        max_side: see `AnomalyScorer`.
    """

    nothing = "nothing moves in them, and no detector found anything, so that there is nothing to learn from"

    def __init__(
        self,
        sources: Sequence[str | Path],
        extractor: dict,
        cache: str | Path = "work_dirs/cache",
        max_side: int = 640,
        part: Literal["all", "learn"] = "all",
        samples: int | None = None,
    ):
        self._extractor = ObjectExtractor(**extractor)
        before, after = context(self._extractor.radius)
        names = ("patches", "flow")
        super().__init__(sources, cache, {"extractor": extractor}, names, before, after, max_side, part, samples)
        del self._extractor  # holds what cannot be handed to other processes

    def prepare(self, segment: Segment) -> dict[str, np.ndarray]:
        found = self._extractor.extract(segment.frames, segment.targets)
        return {name: np.concatenate([getattr(one, name) for one in found]) for name in self.names}


@HOOKS.register_module()
class StatisticsHook(Hook):
    """Have an `ObjectScorer` learn its statistics from the training set, `ObjectPatches`, after the last epoch."""

    priority = "NORMAL"  # before the checkpoint is written

    def after_train_epoch(self, runner: Runner) -> None:
        if not self.is_last_train_epoch(runner):
            return
        model = getattr(runner.model, "module", runner.model)
        model.learn_statistics(runner.train_dataloader.dataset)
