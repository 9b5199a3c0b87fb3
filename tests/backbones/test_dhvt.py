import pytest
import torch
import torch.nn.functional as F

from toolkit.backbones.dhvt import DHVT, ConvMLP, HeadInteractedAttention, PatchEmbed

SMALL = dict(embed_dim=16, depth=2, num_heads=2)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module.eval()


def test_heads_become_tokens_that_end_in_the_class_token():
    layer = randomised(HeadInteractedAttention(12, 3))
    x = torch.randn(1, 5, 12)
    average = x[0].mean(0)
    rows = []
    for head in range(3):
        wide = layer.ht_proj(average[4 * head : 4 * head + 4])
        parts = [F.gelu(layer.ht_norm(wide[4 * i : 4 * i + 4])) for i in range(3)]
        rows.append(torch.cat(parts) + layer.pos_embed[0, head])
    tokens = torch.cat((x[0], torch.stack(rows)))
    q, k, v = layer.qkv(tokens).split(12, 1)
    columns = [slice(4 * head, 4 * head + 4) for head in range(3)]
    mixed = layer.proj(torch.cat([(q[:, c] @ k[:, c].T / 2).softmax(1) @ v[:, c] for c in columns], 1))
    want = torch.cat((mixed[:1] + mixed[5:].mean(0), mixed[1:5]))
    torch.testing.assert_close(layer(x)[0], want)


def test_the_class_token_is_weighed_by_the_patches_without_bounds():
    mlp = randomised(ConvMLP(8, 16))
    x = torch.randn(1, 1 + 4 * 3, 8)
    patches = mlp(x, (4, 3))[:, 1:]
    weight = mlp.excitation(F.gelu(mlp.compress(patches.mean(1))))
    assert weight.min() < 0  # a sigmoid would forbid it
    torch.testing.assert_close(mlp(x, (4, 3))[:, 0], x[:, 0] * weight)


def test_patches_of_two_pixels_end_in_an_activation():
    x = torch.randn(2, 3, 8, 8)
    assert [sum(isinstance(m, torch.nn.Conv2d) for m in PatchEmbed(3, 16, size).modules()) for size in (16, 4, 2)] == [
        4,
        2,
        1,
    ]
    embed = randomised(PatchEmbed(3, 16, 2))
    with torch.no_grad():
        embed.post_affine.alpha.fill_(1)
        embed.post_affine.beta.zero_()
    assert embed(x).min() > -0.18  # GELU's least value is -0.17
    assert randomised(PatchEmbed(3, 16, 4))(x).min() < -0.18


def test_transposed_pictures_give_transposed_maps():
    model = randomised(DHVT(SMALL, patch_size=4))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.add_(module.weight.transpose(2, 3).clone())
    x = torch.randn(1, 3, 24, 36)
    (one,), (other,) = model(x), model(x.transpose(2, 3))
    assert one.shape == (1, 16, 6, 9)
    torch.testing.assert_close(one, other.transpose(2, 3), rtol=1e-4, atol=1e-4)


def test_published_sizes():
    for arch, patch, classes, count in (("tiny", 16, 1000, 6267334), ("tiny_cifar", 4, 100, 6008650)):
        with torch.device("meta"):
            model = DHVT(arch, patch, num_classes=classes)
        assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(arch="huge"), "arch must be among tiny"),
        (dict(arch=SMALL, patch_size=8), "patch_size must be among 16, 4, 2, got 8"),
        (dict(arch=SMALL | dict(num_heads=3)), "divisible by num_heads 3"),
    ],
)
def test_what_does_not_fit_is_named(args: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DHVT(**args)
