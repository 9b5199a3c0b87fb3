import pytest
import torch

from toolkit.modules.attention.rcmha import RCMHA


def lively(**args) -> RCMHA:
    torch.manual_seed(0)
    module = RCMHA(8, 2, max_length=16, **args).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def test_scores_are_those_of_the_formula():
    module, x, y = lively(), torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    query, key, value = module.query(x), module.key(y), module.value(y)
    out = torch.zeros(2, 5, 8)
    for head in range(2):
        for i in range(5):
            scores = []
            for j in range(7):
                step = module.max_length + j - i - 2  # 2: the last five of y are at the places of x
                near = module.key_pos_embeddings[step, head]
                q, k = query[:, head, i], key[:, head, j]
                content = ((q + module.query_pos_bias[head]) * k).sum(-1)
                scores.append((content + (q * near).sum(-1) + module.key_pos_bias[step, head]) / 2)
            weights = torch.stack(scores, -1).softmax(-1)
            out[:, i, head * 4 : head * 4 + 4] = (weights.unsqueeze(-1) * value[:, head]).sum(1)
    torch.testing.assert_close(module(x, y), module.output(out), atol=1e-5, rtol=1e-5)


def test_under_a_causal_mask_the_past_does_not_know_the_future():
    module, x = lively(), torch.randn(2, 6, 8, requires_grad=True)
    module(x, mask=torch.ones(6, 6, dtype=torch.bool).tril())[:, 2].sum().backward()
    assert x.grad[:, :3].abs().min() > 0
    assert x.grad[:, 3:].abs().max() == 0


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="RCMHA: in_channels must be divisible by num_heads 3, got 8"):
        RCMHA(8, 3)
    with pytest.raises(ValueError, match="RCMHA: max_length is 16, got a sequence of 17"):
        lively()(torch.randn(1, 17, 8))
