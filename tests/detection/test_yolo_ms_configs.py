"""The shipped configs of the published YOLO-MS sizes."""

import pytest
from mmengine.config import Config

from toolkit.config import find_config
from toolkit.ops import load_mmdet

PUBLISHED_PARAMETERS = {
    "yolo_ms_xs_300e_coco": 4_493_932,
    "yolo_ms_xs_se_300e_coco": 4_537_452,
    "yolo_ms_s_300e_coco": 8_052_462,
    "yolo_ms_s_se_300e_coco": 8_130_678,
    "yolo_ms_300e_coco": 21_992_412,
    "yolo_ms_se_300e_coco": 22_166_492,
    "yolov8_ms_n_500e_coco": 2_862_704,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_the_config_builds_the_published_size_and_its_pipelines(name: str, parameters: int, mmdet_scope: None) -> None:
    load_mmdet()
    from mmdet.registry import HOOKS, MODELS, TRANSFORMS

    config = Config.fromfile(find_config(f"detection/{name}"))
    model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    switch = config.custom_hooks[1]
    last = config.train_cfg.max_epochs - switch.switch_epoch
    assert last == (10 if "v8" in name else 20)
    pipelines = [config.train_dataloader.dataset.pipeline, switch.switch_pipeline]
    mixing = [any(step.type in ("CachedMosaic", "CachedMixUp") for step in pipeline) for pipeline in pipelines]
    assert mixing == [True, False]
    for step in [*pipelines[0], *pipelines[1], *config.test_dataloader.dataset.pipeline]:
        TRANSFORMS.build(step)
    for hook in config.custom_hooks:
        HOOKS.build(hook)
