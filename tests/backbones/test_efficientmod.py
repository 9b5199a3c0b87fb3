"""EfficientMod: the modulation against its formula, sizes as published, narrow heads."""

import pytest
import torch
from torch.nn import functional as F

from toolkit.backbones.efficientmod import AttentionBlock, EfficientMod, Modulation

SMALL = dict(embed_dim=(8, 16, 16, 32), depths=(3, 1, 1, 1), attention=(0, 0, 1, 1), expansions=((1, 6),) * 4)


@pytest.mark.parametrize("expansion", [1, 3])
def test_modulation_repeats_the_whole_context(expansion: int):
    torch.manual_seed(0)
    module, x = Modulation(4, expansion), torch.randn(2, 9, 8, 4)
    layer = module.context_layer
    context = layer.context_list[0](layer.f(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    context = layer.g(F.gelu(context))
    wide = module.fc1(x)
    if expansion > 1:
        wide = F.gelu(wide)
    parts = [wide[..., 4 * i : 4 * i + 4] * context for i in range(expansion)]
    torch.testing.assert_close(module(x), module.fc2(torch.cat(parts, -1)))


def test_heads_are_at_least_32_wide():
    torch.manual_seed(0)
    block, x = AttentionBlock(16, 2, False, 4.0, 0.0), torch.randn(2, 3, 4, 16)
    module = block.attn
    assert module.qkv.out_features == 3 * 64
    assert module.qkv.bias is None
    tokens = block.norm1(x).flatten(1, 2)
    q, k, v = module.qkv(tokens).chunk(3, -1)
    heads = []
    for mine in (slice(0, 32), slice(32, 64)):
        scores = q[..., mine] @ k[..., mine].transpose(1, 2) * 32**-0.5
        heads.append(scores.softmax(-1) @ v[..., mine])
    y = x + module.proj(torch.cat(heads, -1)).view_as(x)
    torch.testing.assert_close(block(x), y + block.mlp(block.norm2(y)))
    assert AttentionBlock(512, 8, False, 4.0, 0.0).attn.qkv.out_features == 3 * 512


def test_expansions_alternate_and_transformer_blocks_come_last():
    net = EfficientMod(SMALL)
    assert [block.mlp.expansion for block in net.layers[0].blocks] == [1, 6, 1]
    assert [isinstance(block, AttentionBlock) for block in net.layers[2].blocks] == [False, True]


def test_size_is_the_published_one():
    with torch.device("meta"):
        net = EfficientMod("xxs", num_classes=1000)
    assert sum(value.numel() for value in net.parameters()) == 4_736_264


def test_the_classifier_norms_the_last_map():
    torch.manual_seed(0)
    net, x = EfficientMod(SMALL, num_classes=5).eval(), torch.randn(2, 3, 64, 80)
    maps = EfficientMod(SMALL).eval()
    maps.load_state_dict({key: value for key, value in net.state_dict().items() if key in maps.state_dict()})
    tokens = maps(x)[-1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(net(x), net.head(net.norm(tokens).mean(1)))


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="EfficientMod: arch must be among xxs or a dict, got 'xl'"):
        EfficientMod("xl")
