import pytest
import torch
import torch.nn.functional as F

from toolkit.backbones.vitcomer import DeformAttention, Exchange, Interaction, ToCNN, ToViT, ViTCoMer, with_vit

FACTS = dict(deform_num_heads=2, n_points=2, deform_ratio=1.0, cffn_ratio=0.5, dim_ratio=2.0)
SMALL = dict(
    embed_dim=8,
    num_heads=2,
    depth=4,
    conv_inplane=4,
    deform_num_heads=2,
    interaction_indexes=((0, 0), (1, 1), (2, 2), (3, 3)),
)
SIZES = ((8, 12), (4, 6), (2, 3))
TOKENS = 8 * 12 + 4 * 6 + 2 * 3


def randomised(module: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)
    return module.eval()


def test_deformable_attention_is_bilinear_samples_of_all_levels():
    layer = randomised(DeformAttention(8, 2, 2, 1.0))
    query, feat = torch.randn(1, TOKENS, 8), torch.randn(1, TOKENS, 8)
    got = layer(query, feat, SIZES)[0]
    levels = layer.value_proj(feat)[0].split([h * w for h, w in SIZES])
    for token, (y, x), (height, width) in ((5, (0, 5), SIZES[0]), (96 + 8, (1, 2), SIZES[1]), (125, (1, 2), SIZES[2])):
        offsets = layer.sampling_offsets(query[0, token]).view(2, 3, 2, 2)
        weights = layer.attention_weights(query[0, token]).view(2, 6).softmax(1).view(2, 3, 2)
        want = torch.zeros(2, 4)
        for level, (h, w) in enumerate(SIZES):
            values = levels[level].view(h, w, 2, 4).permute(2, 3, 0, 1)  # heads, channels, h, w
            for head in range(2):
                for point in range(2):
                    dx, dy = offsets[head, level, point]
                    px, py = (x + 0.5) / width + dx / w, (y + 0.5) / height + dy / h
                    place = torch.stack((2 * px - 1, 2 * py - 1)).view(1, 1, 1, 2)
                    sample = F.grid_sample(values[head][None], place, align_corners=False).flatten()
                    want[head] += weights[head, level, point] * sample
        torch.testing.assert_close(got[token], layer.output_proj(want.flatten()))


def test_new_offsets_look_into_all_directions():
    layer = DeformAttention(8, 4, 2, 1.0)
    offsets = layer.sampling_offsets(torch.randn(1, 8)).view(4, 3, 2, 2)
    for level in range(3):
        want = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
        torch.testing.assert_close(offsets[:, level, 0], want, atol=1e-6, rtol=0)
        torch.testing.assert_close(offsets[:, level, 1], 2 * want, atol=1e-6, rtol=0)


def test_the_transformer_joins_the_level_of_its_stride():
    c, x = torch.zeros(1, TOKENS, 8), torch.ones(1, 24, 8)
    joined = with_vit(c, x, SIZES)[0]
    assert joined[96:120].min() == 1
    assert joined[:96].max() == joined[120:].max() == 0


def test_levels_come_to_the_transformer_as_a_sum_and_begin_silent():
    x, c = torch.randn(1, 24, 8), torch.randn(1, TOKENS, 8)
    assert torch.equal(ToViT(8, FACTS)(x, c, SIZES), x)
    layer = randomised(ToViT(8, FACTS))
    large, middle, small = Exchange.forward(layer, c, c, SIZES)[0].split((96, 24, 6))
    halved = large.view(4, 2, 6, 2, 8).mean((1, 3)).view(24, 8)  # bilinear at half the size
    doubled = F.interpolate(small.T.view(1, 8, 2, 3), scale_factor=2, mode="bilinear").flatten(2)[0].T
    want = x[0] + layer.gamma * (halved + middle + doubled)
    torch.testing.assert_close(layer(x, c, SIZES)[0], want, rtol=1e-4, atol=1e-5)


def test_what_the_levels_get_is_added_to_the_normed_tokens():
    layer = randomised(ToCNN(8, FACTS))
    with torch.no_grad():
        layer.cfinter.attn.output_proj.weight.zero_()
        layer.cfinter.attn.output_proj.bias.zero_()
        layer.cfinter.ffn.fc2.weight.zero_()
        layer.cfinter.ffn.fc2.bias.zero_()
    x, c = torch.randn(1, 24, 8), torch.randn(1, TOKENS, 8)
    torch.testing.assert_close(layer(x, c, SIZES), layer.query_norm(with_vit(c, x, SIZES)))


def test_the_last_group_has_more_interactions():
    assert [len(part.extra_CTIs) for part in ViTCoMer(SMALL).interactions] == [0, 0, 0, 4]
    assert len(Interaction(8, FACTS, has_extra=True).extra_CTIs) == 4


def test_pictures_are_filled_up_and_maps_are_cut():
    model = randomised(ViTCoMer(SMALL, pretrain_size=64))
    x = torch.randn(1, 3, 70, 50)
    whole = model(F.pad(x, (0, 14, 0, 26)))
    for stride, got, want in zip((4, 8, 16, 32), model(x), whole, strict=True):
        rows, columns = -(-70 // stride), -(-50 // stride)
        assert got.shape == (1, 8, rows, columns)
        torch.testing.assert_close(got, want[:, :, :rows, :columns])


def test_published_sizes():
    for arch, count in (("tiny", 10619360), ("small", 37010528)):
        with torch.device("meta"):
            model = ViTCoMer(arch)
        assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(interaction_indexes=((0, 0), (1, 3))), "must be four pairs that cover 4 blocks"),
        (dict(interaction_indexes=((0, 0), (1, 1), (2, 2), (3, 4))), "must be four pairs"),
        (dict(num_heads=3), "divisible by num_heads 3"),
        (dict(deform_num_heads=3), "deform_num_heads 3 must divide"),
    ],
)
def test_facts_that_do_not_fit_are_named(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ViTCoMer(SMALL | change)
