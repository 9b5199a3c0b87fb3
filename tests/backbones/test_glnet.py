import pytest
import torch

from toolkit.backbones.glnet import ARCHS, DEFAULTS, GLMixBlock, GLNet

FACTS = DEFAULTS | dict(head_dim=4, num_slots=4)
SMALL = dict(
    embed_dim=(8, 16),
    depth=(1, 2),
    mlp_ratios=(2, 2),
    mixing_modes=("glmix", "glmix.mha_nchw"),
    head_dim=4,
    num_slots=4,
)


def block_of(**facts: object) -> GLMixBlock:
    torch.manual_seed(0)
    block = GLMixBlock(8, 2, FACTS | facts, 0.0).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(0, 0.5)
    return block


@pytest.mark.parametrize("slot_init", ["ada_avgpool", "param"])
def test_positions_and_slots_exchange_by_cosine(slot_init: str):
    block = block_of(slot_init=slot_init)
    block.slot_scale.data.fill_(3.0)
    block.feature_conv[2].weight.data.zero_()
    block.feature_conv[2].bias.data.zero_()
    x, before = torch.randn(1, 8, 4, 6), torch.randn(1, 8, 4, 6)
    y = block.norm1(x)[0].flatten(1).T  # positions, channels
    cells = [before[0, :, i : i + 2, j : j + 3].mean((1, 2)) for i in (0, 2) for j in (0, 3)]
    slots = torch.stack(cells) if slot_init == "ada_avgpool" else block.init_slots[0]
    closeness = 3 * torch.cosine_similarity(slots[:, None], y[None], dim=2)
    gathered = torch.stack([sum(w * v for w, v in zip(row.softmax(0), y, strict=True)) for row in closeness])
    mixed = block.relation_mha(gathered, gathered, gathered)[0]
    want = torch.stack([column.softmax(0) @ mixed for column in closeness.T])
    torch.testing.assert_close(block.mixed(x, before)[0].flatten(1).T, want)


def test_far_positions_reach_each_other_only_by_slots():
    block = block_of().double()
    x = torch.randn(1, 8, 32, 32, dtype=torch.float64)
    moved = x.clone()
    moved[:, :, 0, 0] += 3.0
    with torch.no_grad():
        assert (block(moved) - block(x))[0, :, 20:, 20:].abs().max() > 1e-5
        block.relation_mha.out_proj.weight.zero_()
        assert (block(moved) - block(x))[0, :, 20:, 20:].abs().max() < 1e-12


def test_modes_alternate_and_layer_scales_begin_where_told():
    model = GLNet(dict(SMALL, layerscale=0.25), out_indices=(1,))
    assert [type(block).__name__ for block in model.stages[1].blocks] == ["GLMixBlock", "AttentionBlock"]
    assert all((block.ls2.gamma == 0.25).all() for stage in model.stages for block in stage.blocks)


def test_published_sizes():
    for arch, count in (("4g", 27001593), ("stl", 30296786)):
        with torch.device("meta"):
            model = GLNet(arch, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert set(ARCHS) == {"stl", "stl_paramslot", "4g", "9g", "16g"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(mixing_modes=("glmix", "conv")), "mixing_modes must be among .*'conv'"),
        (dict(slot_init="pool"), "slot_init must be among"),
        (dict(embed_dim=(8, 18)), "divisible by head_dim 4"),
        (dict(num_slots=5), "must be a square"),
    ],
)
def test_facts_that_do_not_fit_are_named(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        GLNet(SMALL | change, out_indices=(1,))
