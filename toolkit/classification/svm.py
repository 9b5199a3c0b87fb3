"""A linear classifier on features of a network that was trained for something else.

CNN Features off-the-shelf: an Astounding Baseline for Recognition, CVPRW 2014, arXiv 1403.6382.

    z = x / |x|, of views of a picture after sign(x) sqrt(|x|);  class = argmax_k sum over views of w_k z + b_k

The square root is this project's choice of a power. One linear support vector machine for each class against the
others, by scikit-learn; its C is chosen by cross validation on the training pictures.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from toolkit.errors import UserError

CHOICES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of C
FOLDS = 5


def need_sklearn() -> None:
    """Raise `UserError` where scikit-learn is not installed."""
    try:
        import sklearn.svm  # noqa: F401
    except ImportError:
        raise UserError("--svm needs scikit-learn: pip install 'toolkit[features]'") from None


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features (..., C) divided by their lengths; those of length 0 as they are."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def prepare(features: np.ndarray) -> np.ndarray:
    """(N, V, C) unit vectors of features (N, C) of pictures, or (N, V, C) of views, these after the power transform."""
    if features.ndim == 2:
        return unit_length(features)[:, None]
    return unit_length(np.sign(features) * np.sqrt(np.abs(features)))


@dataclass(frozen=True)
class LinearSVM:
    """A fitted machine.

    Attributes:
        weight: (K, C) float32.
        bias: (K,) float32.
        c: the penalty C it was fitted with.
    """

    weight: np.ndarray
    bias: np.ndarray
    c: float

    def decide(self, features: np.ndarray) -> np.ndarray:
        """(N, K) sums over the views of how far features, as `prepare` takes them, are on each class's side."""
        return (prepare(features) @ self.weight.T + self.bias).sum(1)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) places of the classes of features, as `prepare` takes them."""
        return self.decide(features).argmax(1)


def fit(features: np.ndarray, labels: np.ndarray, c: float) -> LinearSVM:
    """Fit on features as `prepare` takes them; every view of a picture is an example of its class.

    Args:
        features: (N, C) or (N, V, C).
        labels: (N,) 0 to K - 1, each at least once.
        c: penalty of what lies on the wrong side.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    vectors = prepare(features)
    count, views, channels = vectors.shape
    machine = LinearSVC(C=c, dual="auto", max_iter=5000, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a C that is too large loses the choice by its accuracy
        machine.fit(vectors.reshape(count * views, channels), np.repeat(labels, views))
    weight, bias = machine.coef_, machine.intercept_
    if len(weight) == 1:  # two classes: one plane between them
        weight, bias = np.concatenate((-weight, weight)), np.concatenate((-bias, bias))
    return LinearSVM(weight.astype(np.float32), bias.astype(np.float32), c)


def folds(labels: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places to fit on and to measure on, each class spread evenly over the latter.

    Raises:
        UserError: a class has fewer than 2 pictures.
    """
    from sklearn.model_selection import StratifiedKFold

    least = int(np.bincount(labels).min())
    if least < 2:
        raise UserError(f"--svm: a class has {least} pictures that can be read; cross validation needs 2 at least")
    splitter = StratifiedKFold(min(count, least), shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(labels)), labels))


def choose_c(features: np.ndarray, labels: np.ndarray) -> float:
    """Of `CHOICES` the one with the best accuracy in cross validation, the least of equals."""
    parts = folds(labels, FOLDS)

    def score(c: float) -> float:
        return np.mean([accuracy(fit(features[a], labels[a], c), features[b], labels[b]) for a, b in parts])

    return max(CHOICES, key=score)


def accuracy(machine: LinearSVM, features: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures that get their class."""
    return float((machine.predict(features) == labels).mean())


def fold_accuracies(features: np.ndarray, labels: np.ndarray) -> list[float]:
    """Accuracy on each fold of machines that were fitted, and whose C was chosen, without it.

    Raises:
        UserError: a class has too few pictures.
    """
    found = []
    for a, b in folds(labels, FOLDS):
        if np.bincount(labels[a]).min() < 2:
            raise UserError("--svm: a class has fewer than 3 pictures that can be read; give more, or --val FOLDER")
        found.append(accuracy(fit(features[a], labels[a], choose_c(features[a], labels[a])), features[b], labels[b]))
    return found
