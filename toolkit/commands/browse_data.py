"""Draw a contact sheet of a configuration's pictures as its pipeline gives them, with boxes, masks and class names.

Training pictures are drawn after augmentation: this is what the model sees.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from toolkit.commands._shared import check_least
from toolkit.errors import UserError

EXAMPLES = """examples:
  python tools/browse_data.py detection/yolo_ms_xs_80e_bccd -o sheet.png
  python tools/browse_data.py my_config.py --split val --count 36
  python tools/browse_data.py my_config.py --data-root my_set --seed 1 --cfg-options crop=[256,256]
"""
WARM_UP = 8  # samples that cached mosaic and mixup hold at least before they mix
CELL = 384


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="a file, or the name of a shipped configuration")
    parser.add_argument("-o", "--out", type=Path, default=Path("sheet.png"), help="picture to write (sheet.png)")
    parser.add_argument("--split", choices=["train", "val", "test"], default="train", help="which data set (train)")
    parser.add_argument("--count", type=int, default=16, help="number of pictures (16)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of pictures and their augmentation (0)")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set is, if not where the config says")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override keys of the config")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    check_least(args, count=1, seed=0)
    if args.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"-o {args.out}: name a .png or .jpg file")

    from toolkit.config import load_config
    from toolkit.data.images import save_image
    from toolkit.engine.setup import move_data_root
    from toolkit.visualization import contact_sheet

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        move_data_root(cfg, args.data_root)
    config, dataset = build_dataset(cfg, args.split)
    classes = tuple(dataset.metainfo.get("classes") or ())
    objects: Counter = Counter()
    pictures = []
    for sample in draw_samples(dataset, args.count, args.seed, warm_up=WARM_UP * _is_cached(config)):
        picture, names = draw_sample(sample, classes, annotated_last=_annotated_last(config))
        pictures.append(picture)
        objects.update(names)
    if not pictures:
        raise UserError(
            f"{args.config}: its {args.split} pipeline left none of the pictures (it returned None for all)"
        )
    try:
        save_image(contact_sheet(pictures, cell=CELL), args.out)
    except OSError as error:
        raise UserError(f"cannot write {args.out}: {error.strerror}") from None
    counts = ", ".join(f"{number} {name}" for name, number in objects.most_common())
    print(f"{args.out}: {len(pictures)} of {len(dataset)} {args.split} pictures with {counts or 'no objects'}")


def build_dataset(cfg: Any, split: str) -> tuple[dict, Any]:
    """(the dataset's part of the configuration, the dataset) of `split`.

    Raises:
        UserError: the configuration has no such dataset, or one that cannot be built.
    """
    from mmengine.registry import DATASETS

    from toolkit.config import config_errors, load_scope

    config = (cfg.get(f"{split}_dataloader") or {}).get("dataset")
    if not config:
        raise UserError(f"--split {split}: {cfg.filename} has no {split}_dataloader.dataset")
    load_scope(cfg)
    with config_errors(cfg):
        return config, DATASETS.build(config)


def draw_samples(dataset: Any, count: int, seed: int, warm_up: int = 0) -> Iterator[dict]:
    """Up to `count` samples of `dataset`, taken and augmented as `seed` says.

    The first `warm_up` are not given out: they fill the caches of transforms that keep samples.
    """
    from toolkit.engine.sampling import ReproducibleDataset, SampleIndex

    reproducible = ReproducibleDataset(dataset)
    order = np.random.default_rng(seed).permutation(len(dataset))
    for place in range(warm_up):
        reproducible[SampleIndex(order[place % len(order)], (seed, 1, place))]
    for place, index in enumerate(order[:count]):
        sample = reproducible[SampleIndex(index, (seed, 0, place))]
        if sample is not None:
            yield sample


def draw_sample(sample: dict, classes: tuple[str, ...], annotated_last: bool) -> tuple[np.ndarray, list[str]]:
    """Draw the objects of a packed sample, at the size that they have in the sheet.

    Args:
        sample: `inputs` (3, H, W) and `data_samples`, as the Pack... transforms of mmdet and mmseg give them, or
            `label`, as `PackClass` does.
        classes: class names.
        annotated_last: boxes are in pixels of the picture before it was resized.

    Returns:
        The picture (h, w, 3) uint8 BGR with a longer side of `CELL` pixels, and the names of the objects in it.
    """
    from toolkit.visualization import draw_boxes, draw_text

    pixels, labelled = sample["inputs"], sample.get("data_samples", ())
    if isinstance(pixels, list | tuple):  # of a pipeline that gives several views
        pixels, labelled = pixels[0], labelled[0]
    image = np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0).clip(0, 255).astype(np.uint8))
    scale = CELL / max(image.shape[:2])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if "label" in sample:
        draw_text(image, classes[sample["label"]])
        return image, [classes[sample["label"]]]
    if "gt_sem_seg" in labelled:
        image = _tinted(image, labelled.gt_sem_seg.data.squeeze(0).numpy())
    boxes, labels, texts, masks = _objects(labelled, classes, size)
    if annotated_last:
        boxes = boxes * np.tile(np.asarray(labelled.get("scale_factor", (1.0, 1.0)), float), 2)
    return draw_boxes(image, boxes * scale, labels, texts, masks), texts


def _objects(
    labelled: Any, classes: tuple[str, ...], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray | None]:
    """(N, 4) corners, (N,) labels, N names and (N, h, w) masks at `size` (w, h) of what a sample is labelled with."""
    boxes, labels, texts, masks = [np.zeros((0, 4))], [np.zeros(0, int)], [], []
    for key, note in (("gt_instances", ""), ("ignored_instances", " (ignored)")):
        instances = labelled.get(key)
        if instances is None or not len(instances):
            continue
        corners = instances.bboxes
        boxes.append(getattr(corners, "tensor", corners).numpy().reshape(-1, 4))
        labels.append(instances.labels.numpy())
        texts += [(classes[label] if label < len(classes) else str(label)) + note for label in labels[-1]]
        if "masks" in instances:
            whole = instances.masks.to_ndarray()
            masks += [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in whole]
    return np.concatenate(boxes), np.concatenate(labels), texts, np.array(masks) if len(masks) == len(texts) else None


def _tinted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with the classes of a (H, W) index mask in their colours; 255 marks pixels that have no label."""
    from toolkit.visualization import MASK_OPACITY, class_color

    mask = cv2.resize(mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    colors = np.array([class_color(label) for label in range(256)], np.float32)
    blend = (1 - MASK_OPACITY) * image + MASK_OPACITY * colors[mask]
    return np.where((mask == 255)[..., None], image, blend.astype(np.uint8))


def _pipelines(config: Any) -> Iterator[list[str]]:
    """The types of each pipeline within a dataset's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("pipeline"), list | tuple):
            yield [str(step.get("type", "")).rpartition(".")[2] for step in config["pipeline"]]
        for value in config.values():
            yield from _pipelines(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _pipelines(value)


def _is_cached(config: Any) -> bool:
    return any(kind.startswith("Cached") for kinds in _pipelines(config) for kind in kinds)


def _annotated_last(config: Any) -> bool:
    """Whether annotations are loaded after the picture was resized, as test pipelines do: they stay as they were."""
    return any(
        "LoadAnnotations" in kinds and any("Resize" in kind for kind in kinds[: kinds.index("LoadAnnotations")])
        for kinds in _pipelines(config)
    )
