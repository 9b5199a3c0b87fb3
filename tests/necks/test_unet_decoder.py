import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.necks.unet_decoder import UNetDecoder

SE = dict(type="SE", reduction=2)


def features(channels=(4, 8, 16), sizes=((13, 9), (7, 5), (4, 3))):
    torch.manual_seed(0)
    return [torch.randn(2, c, *size) for c, size in zip(channels, sizes, strict=True)]


def test_each_stage_joins_what_is_below_with_what_is_beside_it():
    neck, maps = UNetDecoder((4, 8, 16), (6, 10), attention_cfg=SE).eval(), features()
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        fine, coarse = neck(maps)

        def stage(number, below, beside):
            y = torch.cat([F.interpolate(below, beside.shape[2:], mode="bilinear"), beside], 1)
            first, second, attention = neck.stages[number]
            for part in (first, second):
                y = F.conv2d(y, part.conv.weight, padding=1)
                y = part.bn.weight[:, None, None] * y / (1 + part.bn.eps) ** 0.5 + part.bn.bias[:, None, None]
                y = y.relu()
            return attention(y)

        expected = stage(1, maps[2], maps[1])
        torch.testing.assert_close(coarse, expected)
        torch.testing.assert_close(fine, stage(0, expected, maps[0]))
    assert fine.shape == (2, 6, 13, 9)
    assert isinstance(neck.stages[0][2], MODELS.get("SE"))


def test_attention_is_one_module_a_stage_of_its_width():
    plain, with_se = UNetDecoder((4, 8, 16), (6, 10)), UNetDecoder((4, 8, 16), (6, 10), attention_cfg=SE)
    extra = [name for name in with_se.state_dict() if name not in plain.state_dict()]
    assert {name.split(".")[2] for name in extra} == {"2"}
    assert {name.split(".")[1] for name in extra} == {"0", "1"}


def test_wrong_use_says_what_is_right():
    with pytest.raises(ValueError, match="one fewer than the 3"):
        UNetDecoder((4, 8, 16), (6,))
    with pytest.raises(ValueError, match="2 maps for 3"):
        UNetDecoder((4, 8, 16), (6, 10))(features()[:2])
