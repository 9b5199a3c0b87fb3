"""Run cases of parity and say of each whether our model gives the published outputs."""

import argparse
import sys

from toolkit.errors import UserError

EPILOG = """examples:
  python tools/parity.py tests/parity
  python tools/parity.py tests/parity/yoloms_xs.json 'cases/yolov8ms_*.json'

Each line is: NAME ERROR TOLERANCE ok|FAIL (what failed). ERROR is the largest deviation of any output relative to
that output's largest magnitude. The exit code is 1 when any case fails, 2 when any file is missing or no case.
"""


def main(argv: list[str] | None = None) -> int:
    """Check the cases named in `argv`."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", metavar="CASE", help="NAME.json (beside NAME.npz), a folder, or a pattern")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: torch's own choice)")
    args = parser.parse_args(argv)

    import torch

    from toolkit.published.parity import case_files, check, read_case

    if args.threads:
        torch.set_num_threads(args.threads)
    passed, failed, broken = 0, 0, []
    for path in case_files(args.cases):
        try:
            verdict = check(read_case(path))
        except UserError as error:
            broken.append(error)
            print(f"{path.stem} - - FAIL (unreadable)", flush=True)
            continue
        passed += verdict.ok
        failed += not verdict.ok
        print(verdict, flush=True)
    print(f"{passed} ok, {failed} failed, {len(broken)} unreadable")
    for error in broken:
        print(f"error: {error}", file=sys.stderr)
    return 2 if broken else int(failed > 0)
