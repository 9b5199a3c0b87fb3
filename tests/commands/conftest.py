from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """Commands set the number of threads; the next test gets the one before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
