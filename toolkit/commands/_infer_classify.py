"""Classes of pictures for `toolkit infer`."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toolkit.classification.inferencer import Classifier
from toolkit.classification.results import Classification, ClassWriter
from toolkit.commands._infer_run import Run
from toolkit.errors import UserError


class ClassifyRun(Run):
    """One pass of a classifier over inputs."""

    def __init__(self, model: Classifier, args: argparse.Namespace):
        if args.classes is not None:
            raise UserError("--classes is for detectors; a classifier writes the most likely of its classes")
        if model.network.head is None:
            raise UserError(f"{args.items[0]}: its model.head is None, it gives features: tools/extract_features.py")
        super().__init__(model, args, None)

    def _make_writer(self, path: Path) -> ClassWriter:
        return ClassWriter(path, self.model.classes)

    def _summary(self) -> str:
        return f"the most likely of {len(self.model.classes)} classes"

    def _results(self, sources: Iterable, note_broken: Any) -> Iterator[Classification]:
        return self.model.iter_predict(sources, self.batch_size, self.drawing, note_broken)
