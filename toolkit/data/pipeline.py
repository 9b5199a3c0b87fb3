"""What a config does with pictures when it tests."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from toolkit.config import config_errors
from toolkit.errors import UserError


def tested_dataset(config: Config) -> dict[str, Any]:
    """The innermost dataset config that testing reads, empty when the config has none."""
    for key in ("test_dataloader", "val_dataloader"):
        dataset = (config.get(key) or {}).get("dataset")
        while isinstance(dataset, dict) and isinstance(dataset.get("dataset"), dict):
            dataset = dataset["dataset"]
        if isinstance(dataset, dict):
            return dataset
    return {}


def build_pipeline(config: Config) -> Callable[[dict], dict]:
    """The config's transforms of testing, without those that load: these get pictures that are read already.

    Raises:
        UserError: the config has no test pipeline, or one that cannot be built.
    """
    steps = tested_dataset(config).get("pipeline") or config.get("test_pipeline")
    if not steps:
        raise UserError(f"{config.filename or 'the config'} has no test_dataloader.dataset.pipeline")
    kept = [step for step in steps if not str(step.get("type", "")).rpartition(".")[2].startswith("Load")]
    with config_errors(config):
        return Compose([TRANSFORMS.build(step) for step in kept])
