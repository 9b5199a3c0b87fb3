"""Names without a scope are mmdet's in all tests here, whatever ran before them."""

import pytest


@pytest.fixture(autouse=True)
def _scope(mmdet_scope: None) -> None:
    pass
