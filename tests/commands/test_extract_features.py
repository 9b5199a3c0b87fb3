import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch

from toolkit.classification.svm import fit, fold_accuracies, prepare
from toolkit.classification.views import views
from toolkit.cli import run
from toolkit.data.images import read_image

ARCH = "test_resnet"  # timm's smallest
LEVELS = {"bright": 200, "dark": 50, "grey": 125}


def extract(*args: object) -> int:
    return run("extract-features", [*map(str, args), "--device", "cpu", "--size", "32"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(timm.create_model(ARCH, pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, level in LEVELS.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            picture = (level + rng.integers(-20, 20, (40, 32, 3))).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "set" / name / f"{number}.png"), picture)
    return tmp_path / "set"


def test_features_are_the_mean_over_the_last_map(weights: Path, folder: Path, tmp_path: Path):
    out = tmp_path / "features.npz"
    assert extract(ARCH, folder, "--checkpoint", weights, "-o", out, "--batch-size", 4) == 0
    found = np.load(out)  # no pickles
    assert found["classes"].tolist() == ["bright", "dark", "grey"]
    assert found["paths"][7] == "dark/1.png"
    assert found["labels"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    net = timm.create_model(ARCH, pretrained=False)
    net.load_state_dict(torch.load(weights))
    # a side of 32 is cut out of one of 37: 40 x 32 becomes 46 x 37
    image = cv2.resize(read_image(folder / "dark" / "1.png"), (37, 46), interpolation=cv2.INTER_LINEAR)[7:39, 2:34]
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        expected = net.eval().forward_features(((pixels - mean[:, None, None]) / std[:, None, None])[None]).mean((2, 3))
    np.testing.assert_allclose(found["features"][7], expected[0].numpy(), rtol=1e-3, atol=1e-4)


def test_a_linear_svm_tells_classes_apart(weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("sklearn")
    out = tmp_path / "features.npz"
    assert extract(ARCH, folder, "--checkpoint", weights, "--val", folder, "--svm", "--views", "-o", out) == 0
    found, svm = np.load(out), np.load(tmp_path / "features_svm.npz")
    assert found["features"].shape[:2] == (18, 16)
    assert (found["val_features"] == found["features"]).all()
    assert svm["power"]
    assert svm["accuracy"] == 1
    assert "accuracy 1.0000 on the 18 pictures" in capsys.readouterr().out
    roots = np.sign(found["features"]) * np.sqrt(np.abs(found["features"]))
    roots /= np.linalg.norm(roots, axis=2, keepdims=True)
    decided = (roots @ svm["weight"].T + svm["bias"]).sum(1).argmax(1)
    assert (decided == found["labels"]).all()


def test_accuracy_is_measured_on_what_was_not_fitted():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = rng.normal(size=(60, 200)).astype(np.float32)
    assert (fit(noise, labels, 100.0).predict(noise) == labels).all()  # by heart
    assert np.mean(fold_accuracies(noise, labels)) < 0.55  # nothing to learn
    signal = noise + 4 * np.eye(3, 200, dtype=np.float32)[labels]
    assert np.mean(fold_accuracies(signal, labels)) > 0.8


def test_two_classes_have_a_row_each():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    features = (rng.normal(size=(20, 4)) + 3 * (2 * labels[:, None] - 1)).astype(np.float32)
    machine = fit(features, labels, 1.0)
    assert machine.weight.shape == (2, 4)
    assert (machine.predict(features) == labels).all()


def test_features_have_length_one_before_the_svm():
    x = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(prepare(x), axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(prepare(x), prepare(9 * x), rtol=1e-5)
    assert prepare(np.zeros((2, 4), np.float32)).tolist() == np.zeros((2, 1, 4)).tolist()


def test_views_are_those_of_the_paper():
    image = np.random.default_rng(0).integers(0, 255, (90, 60, 3), np.uint8)
    found = views(image)
    assert len(found) == 16
    assert (found[0] == image).all()
    assert all((a[:, ::-1] == b).all() for a, b in zip(found[:8], found[8:], strict=True))
    assert [view.shape[:2] for view in found[1:6]] == [(60, 40)] * 5  # 4/9 of the area
    assert (found[4] == image[30:, 20:]).all()
    assert (found[5] == image[15:75, 10:50]).all()
    assert np.abs(found[6].astype(int) - image).mean() > 20


def test_pictures_without_classes_have_none(weights: Path, folder: Path, tmp_path: Path):
    assert extract(ARCH, folder / "dark", "--checkpoint", weights, "-o", tmp_path / "f.npz", "--unit") == 0
    found = np.load(tmp_path / "f.npz")
    assert found["labels"].tolist() == [-1] * 6
    assert len(found["classes"]) == 0
    np.testing.assert_allclose(np.linalg.norm(found["features"], axis=1), 1, rtol=1e-5)


def test_a_broken_picture_is_named_and_left_out(weights, folder, tmp_path, capsys):
    (folder / "dark" / "0.png").write_bytes(b"no picture")
    assert extract(ARCH, folder, "--checkpoint", weights, "-o", tmp_path / "f.npz", "--batch-size", 1) == 1
    assert "0.png is not a picture" in capsys.readouterr().err
    found = np.load(tmp_path / "f.npz")
    assert len(found["features"]) == len(found["labels"]) == 17
    assert "dark/0.png" not in found["paths"]


def test_nothing_is_overwritten_unasked(weights, folder, tmp_path, capsys):
    out = tmp_path / "f.npz"
    out.write_bytes(b"mine")
    assert extract(ARCH, folder, "--checkpoint", weights, "-o", out) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert extract(ARCH, folder, "--checkpoint", weights, "-o", out, "--force") == 0
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["resnet1", "SET"], "did you mean 'resnet18'"),
        (["detection/retinanet_r18_8e_bccd", "SET"], "not ImageClassifier"),
        ([ARCH, "nowhere"], "no such folder"),
        ([ARCH, "SET", "--val", "SET/dark", "--svm"], "has no classes"),
        ([ARCH, "SET", "-o", "x.csv"], "as .npz"),
        ([ARCH, "SET", "--batch-size", "0"], "--batch-size 0"),
        (["resnet18", "SET", "--checkpoint", "WEIGHTS"], "of ResNet|of TimmBackbone are not in it"),
        ([ARCH, "SET", "--options", "depht=3"], "depht"),
    ],
)
def test_mistakes_are_one_line(args, message, weights, folder, tmp_path, capsys):
    out = [] if "-o" in args else ["-o", tmp_path / "f.npz"]
    assert extract(*[a.replace("SET", str(folder)).replace("WEIGHTS", str(weights)) for a in args], *out) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert any(part in error for part in message.split("|"))
    assert not (tmp_path / "f.npz").exists()


def test_too_few_pictures_for_an_svm_are_refused_before_the_work(weights, folder, tmp_path, capsys):
    pytest.importorskip("sklearn")
    for number in range(2, 6):
        (folder / "grey" / f"{number}.png").unlink()
    assert extract(ARCH, folder, "--checkpoint", weights, "--svm", "-o", tmp_path / "f.npz") == 2
    assert "grey has 2 pictures; cross validation needs 3" in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()


def test_without_scikit_learn_the_extra_is_named(weights, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    assert extract(ARCH, folder, "--checkpoint", weights, "--svm", "-o", tmp_path / "f.npz") == 2
    assert "pip install 'toolkit[features]'" in capsys.readouterr().err
