import os
import signal

import pytest

from toolkit.commands._shared import apart
from toolkit.errors import UserError


@pytest.mark.parametrize("preload", [(), ("json",)])
def test_a_function_runs_in_a_process_of_its_own(preload):
    assert apart(os.getpid, preload=preload) != os.getpid()


def test_a_killed_process_is_one_line():
    with pytest.raises(UserError, match="lack of memory"):
        apart(signal.raise_signal, signal.SIGKILL)
