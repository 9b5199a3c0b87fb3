"""Find objects in pictures with the Python interface, print them, and draw them.

python demo/image_demo.py PICTURE CONFIG CHECKPOINT -o out.png
python demo/image_demo.py FOLDER CONFIG CHECKPOINT --count 12      # several pictures on one sheet
"""

import argparse
from pathlib import Path

from toolkit import load_model
from toolkit.data.images import EXTENSIONS, save_image
from toolkit.errors import UserError, run_command
from toolkit.visualization import contact_sheet


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="pictures, or folders of them")
    parser.add_argument("config", help="a file or a shipped name")
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--out", type=Path, default=Path("out.png"), help="drawn pictures (default: out.png)")
    parser.add_argument("--count", type=int, default=16, help="pictures at most (default: 16)")
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score of an object (default: 0.3)")
    args = parser.parse_args(argv)

    files = [file for path in args.pictures for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [file for file in files if file in args.pictures or file.suffix.lower() in EXTENSIONS][: max(args.count, 0)]
    if not files:
        raise UserError(f"{', '.join(map(str, args.pictures))}: no pictures")
    results = load_model(args.config, args.checkpoint).predict(files, score_thr=args.score_thr)
    for file, found in zip(files, results, strict=True):
        print(f"{file}: {len(found)} objects")
        for name, score, box in zip(found.names, found.scores, found.boxes, strict=True):
            print(f"    {name:20} {score:.2f}  " + " ".join(f"{side:.0f}" for side in box))
    sheet = len(results) > 1
    drawn = [found.draw(scale=max(1, 480 // min(found.size)) if sheet else 1) for found in results]
    try:
        save_image(contact_sheet(drawn) if sheet else drawn[0], args.out)
    except OSError as error:
        raise UserError(f"cannot write {args.out}: {error.strerror}") from None
    print(f"{len(drawn)} pictures drawn in {args.out}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
