"""`benchmark.py sfm`: what spatial frequency modulation claims, measured on pictures."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from toolkit.commands._shared import check_free, check_least, write_figures
from toolkit.errors import UserError

EXAMPLES = """examples:
  python tools/benchmark.py sfm my_pictures
  python tools/benchmark.py sfm camvid/val/images --fit camvid/train/images --side 240 -o out

Fits the adaptive resampling on pictures and measures on others: how much of a picture's power lies above half its
sampling rate, before and after modulation, and how much detail comes back from half the size with and without it.
Without --fit, every second picture is fitted on. OUT gets sfm.csv, sfm.md and sfm.png.
"""
OUTPUTS = ("sfm.csv", "sfm.md", "sfm.png")


def add_parser(commands) -> None:
    """File `sfm` among the sub-commands of benchmark.py."""
    parser = commands.add_parser(
        "sfm",
        help="spatial frequency modulation: aliased power and kept detail",
        description="Measure spatial frequency modulation on pictures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", type=Path, metavar="DIR", help="folder of pictures to measure on")
    parser.add_argument("--fit", type=Path, metavar="DIR", help="folder of pictures to fit on")
    parser.add_argument("--side", type=int, default=256, help="longer side in pixels (default: 256)")
    parser.add_argument("--steps", type=int, default=150, help="of the fit (default: 150)")
    parser.add_argument("--most", type=int, default=100, help="most pictures to fit and to measure on (default: 100)")
    parser.add_argument("-o", "--out", type=Path, default=Path("work_dirs/sfm"), help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="replace earlier results in OUT")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`benchmark.py sfm`."""
    check_least(args, side=32, steps=1, most=2)
    check_free(args.out, OUTPUTS, args.force)
    measured, fitted = find_pictures(args.pictures), find_pictures(args.fit) if args.fit else []
    if not args.fit:
        if len(measured) < 2:
            raise UserError(f"{args.pictures}: one picture; give two at least, or --fit another folder")
        measured, fitted = measured[::2], measured[1::2]
    import torch
    from tqdm import tqdm

    from toolkit.data.images import save_image
    from toolkit.engine.sfm_benchmark import draw, fit, measure, read_pictures

    torch.manual_seed(0)
    fitted, measured = (read_pictures(spread(paths, args.most), args.side) for paths in (fitted, measured))
    with tqdm(total=args.steps, unit="step", desc="fit", disable=None, file=sys.stderr) as progress:
        resampler = fit(fitted, args.steps, progress.update)
    with tqdm(total=len(measured), unit="picture", desc="measure", disable=None, file=sys.stderr) as progress:
        claim = measure(resampler, measured, progress.update)
    text = table(claim, len(fitted), len(measured), args)
    print(text)
    from toolkit.files import write_whole

    write_whole(text.encode(), args.out / "sfm.md")
    write_figures(args.out / "sfm.csv", asdict(claim), [asdict(claim).values()])
    save_image(draw(resampler, measured[len(measured) // 2]), args.out / "sfm.png")
    print("results: " + ", ".join(str(args.out / name) for name in OUTPUTS))
    return 0


def find_pictures(folder: Path) -> list[Path]:
    """Pictures anywhere below `folder`, by name.

    Raises:
        UserError: there are none.
    """
    from toolkit.data.images import EXTENSIONS, pictures_below

    paths = pictures_below(folder)
    if not paths:
        raise UserError(f"{folder}: no pictures ({' '.join(EXTENSIONS)}) in this folder")
    return paths


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of them, evenly chosen."""
    return paths if len(paths) <= most else [paths[i * len(paths) // most] for i in range(most)]


def table(claim, fitted: int, measured: int, args: argparse.Namespace) -> str:
    """The claims as Markdown."""
    less = 1 - claim.power_modulated / claim.power
    rows = [
        ["", "plain", "modulated", "change"],
        ["---", "---:", "---:", "---:"],
        ["power above half the sampling rate", f"{claim.power:.4f}", f"{claim.power_modulated:.4f}", f"{-less:+.0%}"],
        ["the same after a shift by half a pixel", f"{claim.power_shifted:.4f}", "", ""],
        ["PSNR from half size, where detail is, dB", f"{claim.psnr:.2f}", f"{claim.psnr_modulated:.2f}",
         f"{claim.psnr_modulated - claim.psnr:+.2f}"],
        ["PSNR from half size, everywhere, dB", f"{claim.psnr_whole:.2f}", f"{claim.psnr_whole_modulated:.2f}",
         f"{claim.psnr_whole_modulated - claim.psnr_whole:+.2f}"],
        ["Jacobian determinant, least and most", "1", f"{claim.least_stretch:.2f} to {claim.most_stretch:.2f}", ""],
    ]  # fmt: skip
    note = (
        f"{measured} pictures, longer side {args.side}, after {args.steps} steps on {fitted} others. Where detail is: "
        "the fifth of each picture that deviates most from its mean over 5x5. Bilinear sampling alone takes power from "
        "high frequencies (second row); what comes back from half size (third row) cannot be gained by it."
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{note}\n"
