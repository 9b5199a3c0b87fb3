import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from toolkit.classification.metrics import class_accuracies, confusion_matrix, draw_confusion, topk_accuracy
from toolkit.classification.model import ImageClassifier, LinearHead, mix
from toolkit.config import set_scope

BACKBONE = dict(type="ConvNeXt", arch="atto", model_args=dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)))


@pytest.fixture(autouse=True)
def _scope():
    set_scope("mmdet")
    torch.manual_seed(0)


def test_scores_are_the_softmax_of_a_linear_layer_on_the_mean():
    model = MODELS.build(dict(type="ImageClassifier", backbone=BACKBONE, head=dict(type="LinearHead", num_classes=4)))
    model.eval()
    x = torch.randn(3, 3, 64, 48)
    with torch.no_grad():
        features = model.backbone(x)[-1].flatten(2).mean(2)
        expected = F.softmax(features @ model.head.fc.weight.T + model.head.fc.bias, 1)
        found = model(x, mode="predict")
    torch.testing.assert_close(torch.stack([one["scores"] for one in found]), expected)
    assert [int(one["label"]) for one in found] == expected.argmax(1).tolist()


def test_without_a_head_it_gives_features():
    model = ImageClassifier(BACKBONE).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 64, 64)).shape == (2, 16)


def test_the_head_takes_the_width_of_mmdets_backbones():
    from toolkit.ops import load_mmdet

    load_mmdet()
    for backbone, width in (
        (dict(type="ResNet", depth=18, base_channels=8), 64),
        (dict(type="ResNet", depth=50, base_channels=4, stem_channels=4), 128),
    ):
        model = ImageClassifier(backbone, dict(type="LinearHead", num_classes=2)).eval()
        assert model.head.fc.in_features == width
        with torch.no_grad():
            assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2)


def test_the_loss_smooths_labels():
    head = LinearHead(5, 8, label_smoothing=0.2)
    features, label = torch.randn(4, 8), torch.tensor([0, 3, 1, 1])
    soft = torch.full((4, 5), 0.2 / 5)
    soft[range(4), label] += 0.8
    expected = -(soft * head(features).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(head.loss(features, F.one_hot(label, 5).float())["loss_cls"], expected)


def test_mixup_loss_is_that_of_both_classes():
    logits, a, b = torch.randn(6, 5), torch.randint(5, (6,)), torch.randint(5, (6,))
    targets = 0.3 * F.one_hot(a, 5) + 0.7 * F.one_hot(b, 5)
    both = 0.3 * F.cross_entropy(logits, a, label_smoothing=0.1) + 0.7 * F.cross_entropy(logits, b, label_smoothing=0.1)
    torch.testing.assert_close(F.cross_entropy(logits, targets, label_smoothing=0.1), both)


def test_mixup_mixes_pictures_and_targets_alike():
    targets = torch.eye(8)
    pictures = torch.randn(8, 3, 4, 4)
    mixed, soft = mix(pictures, targets, 0.4)
    torch.testing.assert_close(soft.sum(1), torch.ones(8))
    torch.testing.assert_close(mixed, torch.einsum("ij,jchw->ichw", soft, pictures))
    assert not torch.equal(soft, targets)


def test_mixup_shares_follow_their_distribution():
    rows, targets = torch.zeros(32, 1), torch.eye(32)
    shares = torch.stack(
        [mix(rows, targets, 0.2)[1].diagonal().median() for _ in range(2000)]
    )  # few mix with themselves
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(float(shares.var()) - 1 / (4 * (2 * 0.2 + 1))) < 0.01  # of Beta(a, a)


def test_only_training_mixes():
    model = ImageClassifier(BACKBONE, dict(type="LinearHead", num_classes=3), mixup=0.4).eval()
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        losses = {float(model(x, mode="loss", label=[0, 1, 2, 0])["loss_cls"]) for _ in range(4)}
    assert len(losses) > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(mixup=-1.0), "mixup must be 0 or more"),
        (dict(head=dict(type="LinearHead", num_classes=1)), "num_classes must be at least 2"),
        (dict(backbone=dict(type="mmdet.CSPDarknet")), "in_channels"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, message: str):
    from toolkit.ops import load_mmdet

    load_mmdet()
    good = dict(backbone=BACKBONE, head=dict(type="LinearHead", num_classes=3))
    with pytest.raises(ValueError, match=message):
        ImageClassifier(**(good | wrong))


def test_topk_counts_the_right_class_among_the_first():
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    labels = np.array([1, 2, 1])
    assert topk_accuracy(scores, labels, 1) == pytest.approx(1 / 3)
    assert topk_accuracy(scores, labels, 2) == 1


def test_confusion_counts_and_class_accuracies():
    matrix = confusion_matrix(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    found = class_accuracies(matrix)
    assert found[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert np.isnan(found[2])


@pytest.mark.parametrize("classes", [2, 40])
def test_a_matrix_of_any_size_is_drawn(classes: int, tmp_path):
    draw_confusion(np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 3000
