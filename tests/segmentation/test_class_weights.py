from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from toolkit.cli import run
from toolkit.config import load_config, load_scope, parse_options
from toolkit.segmentation.class_weights import count_classes, enet, median_frequency

ONE = np.array([[0, 0, 0, 1], [0, 0, 0, 255]], np.uint8)
OTHER = np.array([[0, 2, 2, 2]], np.uint8)


def test_weights_follow_their_formulas():
    counts = count_classes([ONE, OTHER], 4)
    assert counts.pixels.tolist() == [7, 1, 3, 0]
    assert counts.around.tolist() == [11, 7, 4, 0]  # the ignored pixel counts nowhere
    frequency = np.array([7 / 11, 1 / 7, 3 / 4])
    np.testing.assert_allclose(median_frequency(counts), [*(np.median(frequency) / frequency), 0])
    np.testing.assert_allclose(enet(counts), 1 / np.log(1.02 + np.array([7, 1, 3, 0]) / 11))
    assert median_frequency(count_classes([], 2)).tolist() == [0, 0]


def write_set(root: Path) -> Path:
    for part in ("train", "val"):
        for name, mask in (("a", ONE), ("b", OTHER)):
            for kind, content in (("images", np.zeros((*mask.shape, 3), np.uint8)), ("masks", mask)):
                (root / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / part / kind / f"{name}.png")
    return root


def test_the_command_prints_what_training_takes(tmp_path: Path, capsys: pytest.CaptureFixture):
    name = "segmentation/upernet_r18_60e_camvid"
    assert run("class-weights", [name, "--data-root", str(write_set(tmp_path))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Sky", "7", "0.6364", "1.0000"]
    assert lines[-2].startswith("in none of the 2 masks: Road, Pavement")
    config = load_config(name, lines[-1].split())
    weights = median_frequency(count_classes([ONE, OTHER], 11))
    np.testing.assert_allclose(config.model.decode_head.loss_decode.class_weight, weights, atol=1e-4)
    assert parse_options(lines[-1].split())
    load_scope(config)
    labels = torch.tensor([[[0, 1], [1, 255]]])
    loss = MODELS.build(config.model.decode_head.loss_decode)
    logits = torch.randn(1, 11, 2, 2)
    expected = torch.nn.functional.cross_entropy(logits, labels, torch.tensor(weights).float(), ignore_index=255)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)


def test_heads_with_several_losses_and_others_without(tmp_path: Path, capsys: pytest.CaptureFixture):
    where = ["--data-root", str(write_set(tmp_path / "set")), "--method", "enet"]
    path = tmp_path / "two.py"
    path.write_text(
        "_base_ = 'segmentation/upernet_r18_60e_camvid'\n"
        "model = dict(decode_head=dict(loss_decode=[dict(_delete_=True, type='CrossEntropyLoss'), "
        "dict(type='DiceLoss')]), auxiliary_head=dict(type='FCNHead', loss_decode=dict(type='CrossEntropyLoss')))\n"
        .replace("'segmentation/", f"'{Path('configs').resolve()}/segmentation/").replace("camvid'", "camvid.py'", 1)
    )  # fmt: skip
    assert run("class-weights", [str(path), *where]) == 0
    keys = [option.partition("=")[0] for option in capsys.readouterr().out.splitlines()[-1].split()]
    assert keys == [
        f"model.{key}.class_weight"
        for key in ("decode_head.loss_decode.0", "decode_head.loss_decode.1", "auxiliary_head.loss_decode")
    ]
    assert run("class-weights", ["segmentation/mask2former_r18_60e_camvid", *where]) == 2
    assert "model.decode_head has no loss_decode" in capsys.readouterr().err
    assert run("class-weights", ["detection/retinanet_r18_8e_bccd"]) == 2
