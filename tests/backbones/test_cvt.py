import pytest
import torch

from toolkit.backbones.cvt import Attention, Block, CvT
from toolkit.published import convert

SMALL = dict(dim_embed=(8, 12, 16), num_heads=(1, 3, 2), depth=(1, 1, 2))


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module.eval()


def test_attention_is_scaled_by_the_stage_width_and_reads_a_quarter_of_the_map():
    layer = randomised(Attention(8, 2))
    x, size = torch.randn(1, 1 + 6 * 5, 8), (6, 5)
    first, patches = x[:, :1], x[:, 1:].transpose(1, 2).reshape(1, 8, 6, 5)

    def tokens(conv, proj):
        return proj(torch.cat((first, conv(patches).flatten(2).transpose(1, 2)), 1))[0]

    q = tokens(layer.conv_proj_q, layer.proj_q)
    k, v = tokens(layer.conv_proj_k, layer.proj_k), tokens(layer.conv_proj_v, layer.proj_v)
    assert q.shape == (31, 8)
    assert k.shape == v.shape == (1 + 3 * 3, 8)
    heads = [(q[:, s] @ k[:, s].T / 8**0.5).softmax(1) @ v[:, s] for s in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(layer(x, size)[0], layer.proj(torch.cat(heads, 1)))


def test_quick_gelu_is_not_the_exact_one():
    x = torch.linspace(-5, 5, 1001)
    gap = (Block(8, 2, 4.0).mlp.act(x) - torch.nn.functional.gelu(x)).abs().max()
    assert 0.01 < gap < 0.03


def test_maps_do_not_see_the_classifier_and_logits_are_the_class_token_s():
    x = torch.randn(2, 3, 48, 40)
    whole = randomised(CvT(SMALL, num_classes=5))
    maps = CvT(SMALL).eval()
    maps.load_state_dict(
        {key: value for key, value in whole.state_dict().items() if not key.startswith(("norm", "head"))}
    )
    found, first = whole.maps(x)
    assert all(torch.equal(one, other) for one, other in zip(maps(x), found, strict=True))
    torch.testing.assert_close(whole(x), whole.head(whole.norm(first[:, 0])))
    assert whole(x[:1]).shape == (1, 5)  # the published code loses the batch axis of one picture


def test_published_sizes():
    for arch, count in (("13", 19997480), ("21", 31622696)):
        with torch.device("meta"):
            model = CvT(arch, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == count


def to_transformers(key: str) -> str:
    """Our key as Hugging Face's transformers has it."""
    for ours, theirs in (
        (".mlp.fc2.", ".output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".norm1.", ".layernorm_before."),
        (".norm2.", ".layernorm_after."),
        (".attn.proj.", ".attention.output.dense."),
    ):
        if ".patch_embed." not in key:
            key = key.replace(ours, theirs)
    for letter, word in (("q", "query"), ("k", "key"), ("v", "value")):
        conv = f".attention.attention.convolution_projection_{word}.convolution_projection."
        key = key.replace(f".attn.conv_proj_{letter}.conv.", conv + "convolution.")
        key = key.replace(f".attn.conv_proj_{letter}.bn.", conv + "normalization.")
        key = key.replace(f".attn.proj_{letter}.", f".attention.attention.projection_{word}.")
    key = key.replace(".patch_embed.proj.", ".embedding.convolution_embeddings.projection.")
    key = key.replace(".patch_embed.norm.", ".embedding.convolution_embeddings.normalization.")
    if key.startswith("stage"):
        return f"cvt.encoder.stages.{key[5]}.{key[7:]}".replace(".blocks.", ".layers.")
    return key.replace("norm.", "layernorm.").replace("head.", "classifier.")


def test_checkpoints_of_transformers_load():
    model, other = randomised(CvT(SMALL, num_classes=5)), CvT(SMALL, num_classes=5)
    theirs = {to_transformers(key): value for key, value in model.state_dict().items()}
    assert not theirs.keys() & model.state_dict().keys()
    found = convert(theirs, other)
    assert found.recognised == "CvT"
    assert found.complete, found.problems()
    other.load_state_dict(found.state_dict)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(x), other.eval()(x))


def test_widths_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="dim_embed must be divisible by num_heads"):
        CvT(SMALL | dict(num_heads=(1, 5, 2)))
