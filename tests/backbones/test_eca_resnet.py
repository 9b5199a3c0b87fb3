import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

import toolkit  # noqa: F401
from toolkit.modules.attention.eca import ECA

SMALL = dict(type="ECAResNet", base_channels=8, stem_channels=8, norm_cfg=dict(type="BN"), norm_eval=False)


@pytest.mark.parametrize(("depth", "sizes"), [(18, (3, 5, 7, 7)), (50, (3, 5, 5, 7))])
def test_every_block_ends_with_the_published_kernel(depth: int, sizes: tuple[int, ...]):
    model = MODELS.build(dict(SMALL, depth=depth))
    for stage, size in enumerate(sizes, 1):
        for block in getattr(model, f"layer{stage}"):
            assert block.eca.conv.kernel_size == (size,)
            norm = block.norm2 if depth == 18 else block.norm3
            assert block.eca.conv.weight.shape == (1, 1, size)
            nn.init.zeros_(norm.weight)
            nn.init.zeros_(norm.bias)
    x = torch.randn(2, 3, 64, 64)
    silent = model(x)
    for module in model.modules():
        if isinstance(module, ECA):
            nn.init.normal_(module.conv.weight, std=5)
    assert all(torch.equal(a, b) for a, b in zip(model(x), silent, strict=True))  # it weighs the branch alone


@pytest.mark.parametrize("depth", [18, 50])
def test_recomputation_gives_the_same_gradients(depth: int):
    torch.manual_seed(0)
    model, x = MODELS.build(dict(SMALL, depth=depth)).eval(), torch.randn(1, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        for module in model.modules():
            if hasattr(module, "with_cp"):
                module.with_cp = with_cp
        model.zero_grad()
        sum(out.square().mean() for out in model(x)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match="ECAResNet: depth must be among 18, 34, 50, 101, 152, got 20"):
        MODELS.build(dict(type="ECAResNet", depth=20))
