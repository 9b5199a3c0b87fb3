"""Kernels kept in evaluation: never stale, never in copies, never in the way of gradients."""

import copy
import io
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from toolkit.modules.cached_kernel import CachesKernel
from toolkit.modules.conv.dcls import Dcls2d


class Squares(CachesKernel):
    """x + the squares of its parameters, counting how often these are taken."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.register_buffer("c", torch.zeros(3))
        self.count = 0

    def make(self) -> Tensor:
        self.count += 1
        return self.a**2 + self.b**2 + self.c

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        return x + self.cached(lambda: factor * self.make(), factor)


def value(module: Squares) -> list[float]:
    with torch.no_grad():
        return module(torch.zeros(3)).tolist()


def test_is_made_once_in_evaluation_and_always_in_training():
    module = Squares().eval()
    assert [value(module) for _ in range(3)] == [[2.0] * 3] * 3
    assert module.count == 1
    module.train()
    assert [value(module) for _ in range(3)] == [[2.0] * 3] * 3
    assert module.count == 4


def test_what_else_it_depends_on_is_heeded():
    module = Squares().eval()
    with torch.no_grad():
        assert [module(torch.zeros(3), factor)[0].item() for factor in (1, 2, 2, 1)] == [2, 4, 4, 2]
    assert module.count == 3


def step(module: Squares) -> None:
    module.a.grad = module.b.grad = torch.ones(3)
    torch.optim.SGD(module.parameters(), 1.0).step()


def average(module: Squares) -> None:
    """As mmengine's EMAHook does it: past the version counters, then evaluation."""
    module.a.data.fill_(3.0)
    module.eval()


def set_parameter(module: Squares) -> None:
    module.a = nn.Parameter(torch.full((3,), 3.0))


def set_data(module: Squares) -> None:
    module.b.data = torch.full((3,), 3.0)


def add_to_buffer(module: Squares) -> None:
    module.c.add_(1)


def load(module: Squares) -> None:
    module.load_state_dict({key: torch.full((3,), 3.0) for key in "abc"})


def assign(module: Squares) -> None:
    module.load_state_dict({key: torch.full((3,), 3.0) for key in "abc"}, assign=True)


@pytest.mark.parametrize("change", [step, average, set_parameter, set_data, add_to_buffer, load, assign])
def test_every_change_of_the_weights_is_seen(change: Callable[[Squares], None]):
    module = Squares().eval()
    before = value(module)
    change(module)
    expected = (module.a**2 + module.b**2 + module.c).tolist()
    assert expected != before
    assert value(module) == expected


def test_moving_and_casting_are_seen():
    module = Squares().eval()
    value(module)
    with torch.no_grad():
        assert module.double()(torch.zeros(3)).dtype == torch.float64
        assert module.to("meta")(torch.zeros(3, device="meta")).device.type == "meta"


def test_autocast_has_its_own():
    module = Dcls2d(4, 4, 3, padding=1).eval()
    x = torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            module(x)
        torch.testing.assert_close(module(x), module.train()(x), rtol=0, atol=0)


def test_copies_and_pickles_leave_it_out_and_go_their_own_ways():
    module = Squares().eval()
    value(module)
    with torch.no_grad():
        module.a.data.fill_(5.0)  # unseen, but a copy must not be born stale
    twin = copy.deepcopy(module)
    assert value(twin) == [26.0] * 3
    with torch.no_grad():
        twin.a.zero_()
    assert value(twin) == [1.0] * 3
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert value(torch.load(file, weights_only=False)) == [26.0] * 3


def test_gradients_reach_the_weights_in_evaluation():
    module = Squares().eval()
    value(module)
    module(torch.zeros(3)).sum().backward()
    assert module.a.grad.tolist() == [2.0] * 3


def test_what_inference_mode_kept_serves_gradients_of_the_input():
    module = Dcls2d(4, 4, 3, padding=1).eval().requires_grad_(False)
    x = torch.randn(1, 4, 5, 5)
    with torch.inference_mode():
        expected = module(x)
    x.requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.equal(y.detach(), expected.clone())
    assert x.grad.abs().sum() > 0


def test_transforms_see_the_parameters_that_they_put_in():
    module = Squares().eval()
    value(module)
    many = {name: torch.arange(6.0).view(2, 3) for name in "ab"}
    call = torch.func.functional_call
    with torch.no_grad():
        y = torch.func.vmap(lambda state: call(module, state, (torch.zeros(3),)))(many)
    assert torch.equal(y, 2 * many["a"] ** 2)
    assert value(module) == [2.0] * 3


def test_a_kept_kernel_costs_next_to_nothing():
    module = Dcls2d(96, 96, 17, padding=8, groups=96, kernel_count=34).eval()
    plain = copy.deepcopy(module)
    plain.switch_to_deploy()
    x, times = torch.randn(2, 96, 20, 24), {"plain": [], "ours": []}
    with torch.no_grad():
        for _ in range(15):
            for name, run in (("plain", plain), ("ours", module)):
                start = time.process_time()
                run(x)
                times[name].append(time.process_time() - start)
    ours, base = min(times["ours"]), min(times["plain"])
    assert ours < 1.1 * base
