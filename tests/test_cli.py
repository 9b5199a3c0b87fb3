import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from toolkit.cli import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    blocks = [torch.empty(1 << 21).fill_(1) for _ in range(8)]  # 8 MB each
    del blocks
for _ in range(3):
    work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library's own allocator")
def test_commands_keep_freed_memory():
    run = [sys.executable, "-c", FAULTS]
    plain, kept = (int(subprocess.check_output([*run, how])) for how in ("plain", "keep"))
    assert kept <= max(plain // 10, 1000)  # 16,000 pages and more a round are cleared where memory is given back
