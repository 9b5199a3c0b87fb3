"""Print weights of classes for a segmentation configuration's loss, from how often they occur in its training masks."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from toolkit.errors import UserError

EXAMPLES = """examples:
  toolkit class-weights segmentation/upernet_r18_60e_camvid
  toolkit class-weights my_config.py --method enet --data-root my_set

The last line is what `toolkit train CONFIG --cfg-options` takes.
"""
METHODS = {"median": "median_frequency", "enet": "enet"}
HEADS = ("decode_head", "auxiliary_head")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="a file, or the name of a shipped configuration")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="median",
        help="median: median frequency over frequency, SegNet's (default); enet: 1 / ln(1.02 + share)",
    )
    parser.add_argument("--split", choices=["train", "val", "test"], default="train", help="which masks (train)")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set is, if not where the config says")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override keys of the config")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    from toolkit.config import load_config
    from toolkit.engine.setup import move_data_root
    from toolkit.segmentation import class_weights

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        move_data_root(cfg, args.data_root)
    losses = find_losses(cfg)
    dataset = masks_only(cfg, args.split)
    classes = dataset.metainfo["classes"]
    counts = class_weights.count_classes(_read(dataset), len(classes))
    weights = getattr(class_weights, METHODS[args.method])(counts)
    width = max(map(len, classes))
    print(f"{'class':<{width}} {'pixels':>12} {'share':>8} {'weight':>8}")
    for name, pixels, share, weight in zip(classes, counts.pixels, counts.shares, weights, strict=True):
        print(f"{name:<{width}} {pixels:>12} {share:>8.4f} {weight:>8.4f}")
    absent = [name for name, pixels in zip(classes, counts.pixels, strict=True) if not pixels]
    if absent:
        print(f"in none of the {len(dataset)} masks: {', '.join(absent)}")
    listed = "[" + ",".join(f"{weight:.4f}" for weight in weights) + "]"
    options = [f"{key}.class_weight={listed}" for key in losses]
    # mmseg's loss fails with both; with weights its mean is over pixels that are not ignored anyway
    options += [f"{key}.avg_non_ignore=False" for key, loss in losses.items() if loss.get("avg_non_ignore")]
    print(" ".join(options))


def masks_only(cfg: Any, split: str) -> Any:
    """The data set of `split` whose pipeline only loads masks.

    Raises:
        UserError: the configuration has no such data set, one without masks, or one that cannot be built.
    """
    from mmengine.registry import DATASETS

    from toolkit.config import config_errors, load_scope

    dataset = (cfg.get(f"{split}_dataloader") or {}).get("dataset")
    while isinstance(dataset, dict) and isinstance(dataset.get("dataset"), dict):  # repeated, or the like
        dataset = dataset["dataset"]
    if not dataset:
        raise UserError(f"--split {split}: {cfg.filename} has no {split}_dataloader.dataset")
    steps = [step for step in dataset.get("pipeline", ()) if _name(step) in ("LoadMask", "LoadAnnotations")]
    if not steps:
        raise UserError(f"{split}_dataloader.dataset.pipeline: has no LoadMask or LoadAnnotations, which read masks")
    load_scope(cfg)
    with config_errors(cfg):
        built = DATASETS.build(dict(dataset, pipeline=steps))
    if not built.metainfo.get("classes"):
        raise UserError(f"{split}_dataloader.dataset.metainfo.classes: name the classes of the masks, 0 first")
    return built


def _name(step: dict) -> str:
    return str(step.get("type", "")).rpartition(".")[2]


def _read(dataset: Any) -> Iterator[np.ndarray]:
    from tqdm import tqdm

    for index in tqdm(range(len(dataset)), unit="mask", disable=None):
        mask = dataset[index].get("gt_seg_map")
        if mask is None:
            raise UserError(f"{dataset[index].get('img_path')}: has no mask for segmentation")
        yield mask


def find_losses(cfg: Any) -> dict[str, dict]:
    """The losses of the model's heads that take one weight for each class, by their keys.

    Raises:
        UserError: the model has no such loss.
    """
    found: dict[str, dict] = {}
    for head in HEADS:
        config = (cfg.get("model") or {}).get(head) or {}
        many = isinstance(config, list | tuple)
        for place, one in enumerate(config if many else [config]):
            losses = one.get("loss_decode") or ()
            several = isinstance(losses, list | tuple)
            path = f"model.{head}" + (f".{place}" if many else "") + ".loss_decode"
            found |= {f"{path}.{number}": loss for number, loss in enumerate(losses)} if several else {path: losses}
    if not found:
        raise UserError(f"{cfg.filename}: model.decode_head has no loss_decode, which takes class weights")
    return found
