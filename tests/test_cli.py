import os
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
def work(megabytes):
    torch.empty(int(megabytes * 2**20), dtype=torch.uint8).fill_(1)
work(8)
before = faults()
for step in range(44):
    work(8.5 + step / 2)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library's own allocator")
def test_commands_keep_freed_memory():
    # Blocks of 8.5 to 30 MB, each larger than all before: glibc maps such a one anew. Blocks of one size come from its
    # heap after the first, which shrinks only while nothing small lies above them: that is chance.
    other = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # another allocator, or this one with options
    env = {name: value for name, value in os.environ.items() if not name.startswith(other)}
    run = [sys.executable, "-c", FAULTS]
    plain, kept = (int(subprocess.check_output([*run, how], env=env)) for how in ("plain", "keep"))
    assert kept < plain / 10
