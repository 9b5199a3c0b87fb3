"""Find objects in one picture with the Python interface, print them, and draw them.

python demo/image_demo.py PICTURE CONFIG CHECKPOINT -o out.png
"""

import argparse

import cv2

from toolkit import load_model
from toolkit.errors import UserError, run_command


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("config", help="a file or a shipped name")
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--out", default="out.png", help="drawn picture (default: out.png)")
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score of an object (default: 0.3)")
    args = parser.parse_args(argv)

    model = load_model(args.config, args.checkpoint)
    found = model.predict(args.picture, score_thr=args.score_thr)
    for name, score, box in zip(found.names, found.scores, found.boxes, strict=True):
        print(f"{name:20} {score:.2f}  " + " ".join(f"{side:.0f}" for side in box))
    if not cv2.imwrite(args.out, found.draw()):
        raise UserError(f"cannot write {args.out}")
    print(f"{len(found)} objects, drawn in {args.out}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
