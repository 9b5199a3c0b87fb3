"""What the files of several families share."""

import pytest
import torch
from torch import nn

from toolkit.published.family import NotImplementedCase, of_repository, require, stages_and_logits, watched


class Halving(nn.Module):
    """Maps by pooling, as a backbone gives them, and their means as logits."""

    def __init__(self):
        super().__init__()
        self.pools = nn.ModuleList(nn.AvgPool2d(2) for _ in range(2))

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x := pool(x) for pool in self.pools]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.maps(x)[-1])


def test_a_repository_is_known_by_its_name_and_by_its_address():
    covers = of_repository("owner/name")
    assert all(covers(dict(source_repo=told)) for told in ("owner/name", "https://github.com/owner/name/"))
    assert not any(covers(dict(source_repo=told)) for told in ("another-owner/name", "owner/name2", "name"))


def test_only_other_values_are_refused():
    require(dict(norm="LN", depth=3), dict(norm="LN", act="GELU"))
    with pytest.raises(NotImplementedCase, match="norm 'BN': 'LN' only"):
        require(dict(norm="BN"), dict(norm="LN"))


def test_maps_and_watched_modules_are_told_by_name():
    model, x = Halving(), torch.randn(2, 3, 8, 8)
    found = stages_and_logits(model, dict(image=x), first=0)
    seen = watched(model, dict(image=x), [("first", model.pools[0]), ("last", model.pools[1])])
    assert found.keys() == {"stage0", "stage1", "logits"}
    for one, other in (("stage0", "first"), ("stage1", "last"), ("logits", "logits")):
        assert torch.equal(found[one], seen[other])
    assert not any(pool._forward_hooks for pool in model.pools)
