import pytest

from toolkit.audio.windows import Windows


def test_windows_that_leave_gaps_are_refused():
    assert Windows(2, 2, 1.5, 0.25).stride == 1.5
    for window, stride, drop in ((2, 3, 0), (2, 0, 0), (2, 1.5, 0.3), (2, 2, -0.1)):
        with pytest.raises(ValueError, match="Windows"):
            Windows(2, window, stride, drop)
