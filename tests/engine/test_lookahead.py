import copy

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import toolkit  # noqa: F401


def train(model: nn.Module, optimizer, steps: int) -> list[torch.Tensor]:
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.ones(1, 2)) - 3).square().sum().backward()
        optimizer.step()
        path.append(model.weight.detach().clone())
    return path


def wrapper(model: nn.Module, **options):
    return build_optim_wrapper(model, dict(type="OptimWrapper", optimizer=dict(type="Lookahead", **options)))


def test_every_k_steps_the_weights_go_back_part_of_the_way():
    torch.manual_seed(0)
    model = nn.Linear(2, 1, bias=False)
    plain = copy.deepcopy(model)
    path = train(model, wrapper(model, base="SGD", lr=0.01, alpha=0.5, k=3).optimizer, 6)
    fast = train(plain, torch.optim.SGD(plain.parameters(), lr=0.01), 5)
    torch.testing.assert_close(torch.stack(path[:5]), torch.stack(fast))
    torch.optim.SGD(plain.parameters(), lr=0.01)
    last = train(plain, torch.optim.SGD(plain.parameters(), lr=0.01), 1)[0]
    torch.testing.assert_close(path[5], (fast[2] + last) / 2)


def test_resuming_goes_on_the_same_way():
    torch.manual_seed(0)
    model = nn.Linear(2, 1, bias=False)
    optimizer = wrapper(model, base="Adam", lr=0.01, weight_decay=1e-4, k=4)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4
    train(model, optimizer.optimizer, 6)
    saved, other = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model)
    resumed = wrapper(other, base="Adam", lr=0.01, weight_decay=1e-4, k=4)
    resumed.load_state_dict(saved)
    assert torch.equal(train(model, optimizer.optimizer, 5)[-1], train(other, resumed.optimizer, 5)[-1])
