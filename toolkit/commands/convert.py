"""`toolkit convert`: annotations of other formats to checked COCO JSON, of crowd sets to a JSON of head points."""

import argparse
import json
from pathlib import Path

from toolkit.errors import UserError

EXAMPLES = """\
examples:
  toolkit convert voc VOCdevkit/VOC2007 train.json --split trainval
  toolkit convert yolo my_set train.json --images my_set/images/train
  toolkit convert labelme my_folder all.json --classes cat,dog --fix
  toolkit convert coco annotations.json checked.json --images pictures --fix
  toolkit convert crowd part_A_final/train_data data/shanghaitech_a/train.json

SRC by format:
  voc      Annotations/*.xml and JPEGImages/ (or annotations/ and images/, or all in SRC itself)
  yolo     images/ and labels/ with data.yaml, *.names or classes.txt
  labelme  *.json beside the pictures, in SRC or below
  coco     a JSON file; pictures in --images, or in a folder of its name, or beside it
  crowd    heads as points: ShanghaiTech, UCF-QNRF, UCF_CC_50, JHU-Crowd++, NWPU, Mall, COCO keypoints or boxes

Checked: missing, damaged and wrong-sized pictures, unknown classes, boxes outside the picture or without area,
duplicate ids, annotations of absent images, lines and files that cannot be read. All are counted, the first of each
kind are printed and all are listed in OUT.problems.txt. If there are any, OUT is written only with --fix.
"""


def main(argv: list[str] | None = None) -> None:
    """Read the options and convert."""
    parser = argparse.ArgumentParser(
        description="Turn VOC, YOLO, labelme or COCO annotations into checked COCO JSON, crowd sets into head points.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=("voc", "yolo", "labelme", "coco", "crowd"))
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of the set (coco, crowd: or its JSON file)")
    parser.add_argument("out", type=Path, metavar="OUT.json", help="COCO file (crowd: file of points) to write")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures, if not the usual one")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--list", type=Path, metavar="FILE", help="take only the pictures named in FILE, one a line")
    part.add_argument("--split", metavar="NAME", help="voc: the same from SRC/ImageSets/Main/NAME.txt")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--classes", metavar="A,B,C", help="class names in the order wanted; others are unknown")
    chosen.add_argument("--class-file", type=Path, metavar="FILE", help="the same from a file, one a line")
    parser.add_argument("--zero-based", action="store_true", help="voc: corners are 0-based edges, not 1-based pixels")
    parser.add_argument("--quick", action="store_true", help="read only heads of pictures: cut-off ones pass unseen")
    parser.add_argument("--fix", action="store_true", help="clip or drop what is wrong")
    parser.add_argument("--force", action="store_true", help="replace OUT.json")
    args = parser.parse_args(argv)
    for option in ("zero_based", "split"):
        if getattr(args, option) and args.format != "voc":
            raise UserError(f"--{option.replace('_', '-')} is for voc only")
    if args.split:
        args.list = args.source / "ImageSets" / "Main" / f"{args.split}.txt"
    classes = args.classes.split(",") if args.classes else _lines(args.class_file, "--class-file")
    names = _names(_lines(args.list, "--split" if args.split else "--list"))
    if args.format == "crowd":
        convert_crowd(args, names)
        return

    from toolkit.data.convert import convert

    done = convert(
        args.format,
        args.source,
        args.out,
        images=args.images,
        classes=_distinct(classes),
        names=names,
        fix=args.fix,
        force=args.force,
        zero_based=args.zero_based,
        quick=args.quick,
    )
    dropped = sum(map(len, done.problems.values()))
    print(
        f"{args.out}: {len(done.content['images'])} pictures, {len(done.content['annotations'])} objects, "
        f"classes {', '.join(done.classes)}" + (f"; {dropped} problems mended or dropped" if dropped else "")
    )


def convert_crowd(args: argparse.Namespace, names: set[str] | None) -> None:
    """Write the head points of a crowd set, and a link to its pictures where none lie beside the file."""
    from toolkit.crowd.formats import read_crowd
    from toolkit.files import write_whole

    for option in ("classes", "class_file", "fix", "quick"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} is not for crowd sets")
    if args.out.exists() and not args.force:
        raise UserError(f"{args.out} exists already; name another file or replace it with --force")
    entries, folder, outside = read_crowd(args.source, args.images)
    if names is not None:
        entries = [entry for entry in entries if Path(entry["file_name"]).stem in names]
    if not entries:
        raise UserError(f"none of the names listed is that of a picture of {args.source}")
    write_whole((json.dumps({"images": entries}) + "\n").encode(), args.out)
    heads = sum(entry["count"] for entry in entries)
    print(f"{args.out}: {len(entries)} pictures, {heads} heads" + (f"; {outside} outside left out" if outside else ""))
    link = args.out.with_suffix("")
    if not link.exists():
        link.symlink_to(folder.resolve())
        print(f"{link} -> {folder}")


def _lines(path: Path | None, option: str) -> list[str] | None:
    """The lines of a file that are not blank; None without a file."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{option}: {path} cannot be read") from None
    return [line.strip() for line in lines if line.strip()]


def _names(lines: list[str] | None) -> set[str] | None:
    """Names of pictures, with and without ending; VOC's lists of one class have a 1, 0 or -1 behind the name."""
    if lines is None:
        return None
    bare = [line.rsplit(maxsplit=1)[0] if line.split()[-1] in ("1", "0", "-1") else line for line in lines]
    return {Path(name).name for name in bare} | {Path(name).stem for name in bare}


def _distinct(classes: list[str] | None) -> list[str] | None:
    if classes is None:
        return None
    classes = [name.strip() for name in classes]
    if not all(classes) or len(set(classes)) < len(classes):
        raise UserError(f"class names must be distinct and not empty, got {', '.join(classes)}")
    return classes
