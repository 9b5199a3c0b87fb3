"""Turn COCO instances or panoptic annotations into masks of class numbers, which FolderSegmentation reads."""

import argparse
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """examples:
  toolkit coco-masks annotations/instances_val2017.json masks/val2017
  toolkit coco-masks annotations/panoptic_val2017.json masks/val2017 --panoptic annotations/panoptic_val2017
  toolkit convert labelme my_folder all.json && toolkit coco-masks all.json masks

Instances: 0 is background, 1 the first category; of objects that overlap the smaller one is seen. Panoptic: 0 is the
first category, 255 what has none. The classes are printed as a configuration's metainfo takes them.
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="SRC.json", help="COCO file of instances, or panoptic")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the masks, NAME.png for NAME.jpg")
    parser.add_argument("--panoptic", type=Path, metavar="DIR", help="folder of the panoptic PNG files")
    parser.add_argument("--force", action="store_true", help="write into OUT although it holds files")
    args = parser.parse_args(argv)
    if args.out.is_dir() and any(args.out.iterdir()) and not args.force:
        raise UserError(f"{args.out} holds files already; --force writes into it, or give another folder")

    from toolkit.segmentation.coco_masks import write_masks

    classes = write_masks(args.source, args.out, args.panoptic)
    print(f"{args.out}: {sum(1 for _ in args.out.rglob('*.png'))} masks")
    print(f"classes = {classes!r}")
