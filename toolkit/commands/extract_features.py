"""Write a network's features of pictures, and fit a linear classifier on them."""

import argparse
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import UserError, near
from toolkit.files import write_whole

if TYPE_CHECKING:
    from toolkit.classification.inferencer import Classifier

EXAMPLES = """examples:
  python tools/extract_features.py classification/resnet18_digits photos/ --checkpoint best.pth -o features.npz
  python tools/extract_features.py best.pth flowers/train --val flowers/val --svm -o flowers.npz
  python tools/extract_features.py resnet50 flowers/ --checkpoint resnet50.pth --svm --views -o flowers.npz
  python tools/extract_features.py HorNet photos/ --options arch=tiny_7x7 --checkpoint hornet_tiny.pth -o features.npz

MODEL is a classification config, one of our checkpoints of such a model, or a backbone by the name of `toolkit list
backbones` or of timm. FOLDER holds pictures, or a folder of them for each class. A feature is the mean over the
network's last map. OUT has features (N, C) float32, or (N, 16, C) with --views, paths (N,) relative to FOLDER, labels
(N,) int64, which are places in classes (K,), or -1 without classes, model (its name), and with --val the same again as
val_features and so on. Plain arrays: numpy.load(OUT) reads them.

--svm scales features to length 1 and fits a linear SVM for each class (scikit-learn), its C chosen by cross validation
on FOLDER. The accuracy is that on --val or, without it, on each of five parts of FOLDER with an SVM that was fitted on
the others. OUT with _svm.npz at its end has the SVM: weight (K, C), bias (K,), classes, c, accuracy, and whether
features went through sign(x) sqrt(|x|) first (power), as with --views.
--views: the picture, five crops of 4/9 of its area and two rotations, all mirrored too, as in CNN Features
off-the-shelf (CVPRW 2014, arXiv 1403.6382).
Exit code 1 when some pictures could not be read; the others are done all the same.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="a config, a checkpoint of ours, or a backbone")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures, or a folder of them for each class")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .npz file to make")
    parser.add_argument("--checkpoint", help="weights; random ones without it")
    parser.add_argument("--val", type=Path, metavar="FOLDER", help="more pictures, of the same classes, to measure on")
    parser.add_argument("--svm", action="store_true", help="fit a linear SVM on the features")
    parser.add_argument(
        "--views", action="store_true", help="features of 16 views of each picture; takes 16 times as long"
    )
    parser.add_argument("--unit", action="store_true", help="scale features to length 1")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of the backbone")
    parser.add_argument(
        "--size", type=int, default=224, help="backbones: side of what they see in pixels (default: 224)"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="pictures read at once (default: 16)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: a GPU where there is one)")
    parser.add_argument("--force", action="store_true", help="overwrite earlier results")
    parser.add_argument(
        "--unsafe-checkpoint", action="store_true", help="load a checkpoint with code; trusted files only"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    svm_path = check(args)
    sets = {"": find_pictures(args.folder)}
    if args.val is not None:
        sets["val_"] = find_pictures(args.val)
        check_classes(sets[""], sets["val_"])
    if args.svm:
        check_labelled(sets, args)
    from toolkit.classification.features import load_extractor
    from toolkit.inference import is_checkpoint

    model = load_extractor(args.model, args.checkpoint, args.options, args.size, args.device, args.unsafe_checkpoint)
    if args.checkpoint is None and not is_checkpoint(args.model):
        print("warning: no --checkpoint: the network has random weights", file=sys.stderr)
    broken = [problem for pictures in sets.values() for problem in extract(model, pictures, args)]
    if not all(len(pictures.features) for pictures in sets.values()):
        raise UserError(f"none of the pictures can be read: {broken[0]}")
    write(args.out, model=np.array(args.model), **arrays(sets))
    shape = " x ".join(map(str, sets[""].features.shape))
    print(f"features {shape}: {args.out}")
    if broken:
        lines = "\n".join(f"  {line}" for line in broken)
        print(f"{len(broken)} could not be read:\n{lines}", file=sys.stderr)
    if svm_path is not None:
        fit_svm(sets, svm_path)
    return 1 if broken else 0


def check(args: argparse.Namespace) -> Path | None:
    """See to it, before the work, that options can be and nothing is overwritten unasked; the SVM's file if wanted.

    Raises:
        UserError: they cannot, or it would be.
    """
    if args.out.suffix != ".npz":
        raise UserError(f"{args.out}: features are written as .npz")
    for option in ("batch_size", "size"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option.replace('_', '-')} {getattr(args, option)}: give at least 1")
    svm_path = args.out.with_name(f"{args.out.stem}_svm.npz") if args.svm else None
    for path in (args.out, svm_path):
        if path is not None and path.exists() and not args.force:
            raise UserError(f"{path}: exists already; --force overwrites it")
    if args.svm:
        from toolkit.classification.svm import need_sklearn

        need_sklearn()
    return svm_path


# -------------------------------------------------------------------------------------------------------------- data


@dataclass
class Pictures:
    """Pictures below a folder, and their features once they are there.

    Attributes:
        folder: where they lie.
        files: all of them.
        labels: place of each one's class, -1 without classes.
        classes: their names; empty where the folder is not divided.
        features: (N, C) or (N, V, C) float32 of the N of them that can be read.
        read: places of these N in `files`.
    """

    folder: Path
    files: list[Path]
    labels: list[int]
    classes: tuple[str, ...]
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    read: list[int] = field(default_factory=list)

    @property
    def read_labels(self) -> np.ndarray:
        return np.array([self.labels[index] for index in self.read], np.int64)


def find_pictures(folder: Path) -> Pictures:
    """The pictures below `folder`, with classes where it has folders, two at least, and no pictures beside them.

    Raises:
        UserError: there are none, or one of the folders has none.
    """
    from toolkit.data.class_folders import find_classes
    from toolkit.data.images import EXTENSIONS, pictures_below

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one of pictures, or with a folder of them for each class")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not any(path.suffix.lower() in EXTENSIONS for path in inside) and sum(path.is_dir() for path in inside) > 1:
        found = find_classes(folder)
        labelled = [(file, label) for label, files in enumerate(found.values()) for file in files]
        return Pictures(folder, [file for file, _ in labelled], [label for _, label in labelled], tuple(found))
    files = pictures_below(folder)
    if not files:
        raise UserError(f"{folder}: no pictures in this folder")
    return Pictures(folder, files, [-1] * len(files), ())


def check_classes(train: Pictures, val: Pictures) -> None:
    """Give the pictures of --val the places of the classes of FOLDER.

    Raises:
        UserError: they have others.
    """
    strange = [name for name in val.classes if name not in train.classes]
    if strange:
        raise UserError(
            f"{val.folder}: has a class {strange[0]!r}, {train.folder} has none{near(strange[0], train.classes)}"
        )
    places = [train.classes.index(name) for name in val.classes]
    val.labels, val.classes = [places[label] if label >= 0 else -1 for label in val.labels], train.classes


def check_labelled(sets: dict[str, Pictures], args: argparse.Namespace) -> None:
    """Raise a `UserError` where pictures for --svm have no classes, or a class has too few to choose C with."""
    for pictures in sets.values():
        if -1 in pictures.labels:
            raise UserError(
                f"--svm: {pictures.folder} has no classes; it needs a folder of pictures for each, two at least, and "
                "no pictures beside them"
            )
    counts, least = np.bincount(sets[""].labels), 3 if args.val is None else 2
    if counts.min() < least:
        name = sets[""].classes[int(counts.argmin())]
        raise UserError(f"--svm: {args.folder / name} has {counts.min()} pictures; cross validation needs {least}")


# ---------------------------------------------------------------------------------------------------------- features


def extract(model: "Classifier", pictures: Pictures, args: argparse.Namespace) -> list[str]:
    """Fill in the features of `pictures`; a line for each that cannot be read."""
    from tqdm import tqdm

    from toolkit.classification.svm import unit_length
    from toolkit.data.read_ahead import read_ahead

    broken: list[str] = []
    places = {file: index for index, file in enumerate(pictures.files)}
    features = describe(model, args.views)
    parts, began = [], time.perf_counter()
    with tqdm(total=len(pictures.files), unit="picture", disable=None, file=sys.stderr) as progress:

        def note(_: Any, error: UserError) -> None:
            broken.append(" ".join(str(error).split()))
            progress.update()

        for pairs in read_ahead(pictures.files, args.batch_size, note):
            if pairs:
                parts.append(features([image for _, image in pairs]))
                pictures.read += [places[file] for file, _ in pairs]
            progress.update(len(pairs))
    seconds = time.perf_counter() - began
    if parts:
        pictures.features = np.concatenate(parts)
    if args.unit:
        pictures.features = unit_length(pictures.features)
    done = len(pictures.read)
    print(f"{pictures.folder}: {done} pictures in {seconds:.1f} s ({done / seconds:.1f} pictures/s)")
    return broken


def describe(model: "Classifier", with_views: bool) -> Callable[[list[np.ndarray]], np.ndarray]:
    """A function from pictures to features (N, C), or (N, V, C) of views of them."""
    if not with_views:
        return model.features
    from toolkit.classification.views import views

    return lambda images: np.stack([model.features(views(image)) for image in images])


def arrays(sets: dict[str, Pictures]) -> dict[str, np.ndarray]:
    """What the file holds."""
    found = {"classes": np.array(sets[""].classes, str)}
    for prefix, pictures in sets.items():
        paths = [pictures.files[index].relative_to(pictures.folder).as_posix() for index in pictures.read]
        found |= {
            f"{prefix}features": pictures.features,
            f"{prefix}paths": np.array(paths, str),
            f"{prefix}labels": pictures.read_labels,
        }
    return found


def write(path: Path, **content: np.ndarray) -> None:
    """Write arrays, compressed, whole or not at all."""
    with io.BytesIO() as file:
        np.savez_compressed(file, **content)
        write_whole(file.getvalue(), path)


# --------------------------------------------------------------------------------------------------------------- SVM


def fit_svm(sets: dict[str, Pictures], path: Path) -> None:
    """Fit, measure and write the SVM, and print what it reaches."""
    from toolkit.classification.svm import accuracy, choose_c, fit, fold_accuracies

    train, labels = sets[""], sets[""].read_labels
    counts = np.bincount(labels, minlength=len(train.classes))
    if counts.min() == 0:
        raise UserError(f"--svm: no picture of the class {train.classes[int(counts.argmin())]!r} can be read")
    machine = fit(train.features, labels, choose_c(train.features, labels))
    if "val_" in sets:
        val = sets["val_"]
        scores = [accuracy(machine, val.features, val.read_labels)]
        text = f"{scores[0]:.4f} on the {len(val.read)} pictures of {val.folder}"
    else:
        scores = fold_accuracies(train.features, labels)
        text = f"{np.mean(scores):.4f} ± {np.std(scores):.4f} over {len(scores)} parts"
    write(
        path,
        weight=machine.weight,
        bias=machine.bias,
        classes=np.array(train.classes, str),
        c=np.array(machine.c),
        accuracy=np.array(scores),
        power=np.array(train.features.ndim == 3),
    )
    print(f"svm, C {machine.c:g}: accuracy {text}: {path}")
