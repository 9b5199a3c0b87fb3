import math

import torch

from toolkit.timing import deviation


def test_deviation_is_relative_to_the_spread_and_infinite_where_something_is_no_number():
    expected = torch.tensor([100.0, 102.0])
    assert deviation([expected + 0.5], [expected]) == 0.5
    assert deviation([expected, expected * math.nan], [expected, expected]) == math.inf
    assert deviation(expected, expected * math.inf) == math.inf
