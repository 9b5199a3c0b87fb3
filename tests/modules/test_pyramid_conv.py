"""Pyramid convolution: what reaches which level, and its norm. Its values are tested with the neck SEPC."""

import copy

import pytest
import torch
from torch import Tensor, nn

from toolkit.modules.conv.pyramid_conv import IntegratedBatchNorm, PConv

SIZES = ((11, 8), (6, 4), (3, 2), (2, 1))


def pyramid(channels: int = 4, batch: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, channels, *size) for size in SIZES]


@pytest.mark.parametrize("deform", [False, True])
def test_a_level_reaches_itself_and_its_neighbours(deform: bool) -> None:
    module, levels = PConv(4, 6, deform=deform, ibn=False).eval(), pyramid()
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.normal_(parameter)
        before = module(levels)
        for changed in range(len(levels)):
            other = [x + 1 if i == changed else x for i, x in enumerate(levels)]
            for i, (x, y) in enumerate(zip(before, module(other), strict=True)):
                assert torch.equal(x, y) == (abs(i - changed) > 1)
    assert [x.shape for x in before] == [(2, 6, *size) for size in SIZES]


def test_deformed_kernels_start_plain_and_the_finest_level_stays_so() -> None:
    plain, levels = PConv(4, 6, ibn=False), pyramid()
    deformed = PConv(4, 6, deform=True, ibn=False)
    assert not deformed.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    torch.testing.assert_close(deformed(levels), plain(levels))
    for conv in deformed.convs:
        nn.init.constant_(conv.conv_offset.bias, 0.7)
    same = [torch.allclose(x, y) for x, y in zip(deformed(levels), plain(levels), strict=True)]
    assert same == [True, False, False, False]
    deformed.deform_start_level = 3
    same = [torch.allclose(x, y) for x, y in zip(deformed(levels), plain(levels), strict=True)]
    assert same == [True, True, True, False]


def test_the_norm_s_statistics_are_those_of_all_cells() -> None:
    norm, levels = IntegratedBatchNorm(4), [3 * x + i for i, x in enumerate(pyramid())]
    cells = torch.cat([x.movedim(1, -1).flatten(0, 2) for x in levels])  # (all cells, C)
    normed = torch.cat([x.movedim(1, -1).flatten(0, 2) for x in norm(levels)])
    torch.testing.assert_close(normed, (cells - cells.mean(0)) / (cells.var(0, unbiased=False) + 1e-5).sqrt())
    torch.testing.assert_close(norm.norm.running_mean, 0.1 * cells.mean(0))
    torch.testing.assert_close(norm.norm.running_var, 0.9 + 0.1 * cells.var(0))
    joined = norm.eval().norm(torch.cat([x.flatten(2).unsqueeze(2) for x in levels], 3)).squeeze(2)
    torch.testing.assert_close(torch.cat([x.flatten(2) for x in norm(levels)], 2), joined)


def test_its_norm_can_be_made_a_synchronised_one() -> None:
    module = PConv(4, 4).eval()
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    assert isinstance(synced.bn.norm, nn.SyncBatchNorm)
    torch.testing.assert_close(synced(pyramid()), module(pyramid()))


def test_wrong_use_is_named() -> None:
    with pytest.raises(ValueError, match="PConv: kernel_size must be odd, got 2"):
        PConv(4, 4, kernel_size=2)
    with pytest.raises(ValueError, match="PConv: deform_start_level must not be negative"):
        PConv(4, 4, deform_start_level=-1)
    levels = pyramid()
    levels[2] = torch.randn(2, 4, 4, 2)
    with pytest.raises(ValueError, match=r"level 2 is 4 x 2, but half of level 1 \(6 x 4\) is 3 x 2"):
        PConv(4, 4)(levels)
    assert [x.shape for x in PConv(4, 4).eval()(levels[:1])] == [(2, 4, 11, 8)]
