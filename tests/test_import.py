"""What `import toolkit` costs and prints."""

import subprocess
import sys

import pytest

SILENT = "import toolkit; from toolkit.ops import load_mmdet, load_mmseg; load_mmdet(); load_mmseg()"
TIMED = """
import time
began = time.perf_counter()
import toolkit, sys
assert "torch" not in sys.modules
print(time.perf_counter() - began)
"""


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_imports_print_nothing() -> None:
    done = python(SILENT)
    assert (done.stdout, done.stderr) == ("", "")


def test_import_does_not_bring_torch() -> None:
    assert float(python(TIMED).stdout) > 0


@pytest.mark.slow
def test_import_takes_less_than_a_second() -> None:
    assert min(float(python(TIMED).stdout) for _ in range(3)) < 1.0
