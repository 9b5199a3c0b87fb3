"""What every module of the common set must stand: tests over the catalogue, so that a new one is tested unasked."""

import copy
import io

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

import toolkit  # noqa: F401
from toolkit.catalogue import entries, example

ENTRIES = entries("modules")
FIXED_SIZE = {"TVConv"}  # its kernels are learned position by position
MANY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def lively(entry) -> tuple[nn.Module, Tensor | list[Tensor]]:
    """An example in evaluation mode whose parameters and statistics are all away from zeros and ones."""
    torch.manual_seed(0)
    module, x = example(entry)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point() and value.dim():
                value.add_(0.05 * torch.rand_like(value) if "var" in name else 0.02 * torch.randn_like(value))
    return module.eval(), x


def each(change, x):
    return [change(part) for part in x] if isinstance(x, list) else change(x)


def leaves(y) -> list[Tensor]:
    return [leaf for part in y for leaf in leaves(part)] if isinstance(y, list | tuple) else [y]


def run(module: nn.Module, x) -> list[Tensor]:
    with torch.no_grad():
        return leaves(module(x))


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(one.float() / scale, other.float() / scale, atol=tolerance, rtol=0)


def is_map(x) -> bool:
    return isinstance(x, Tensor) and x.dim() == 4


@MANY
def test_has_a_paper_and_a_summary(entry):
    assert entry.summary
    assert any(word in entry.paper for word in ("arXiv", "http", "doi"))


@MANY
def test_saving_and_loading_is_exact(entry):
    module, x = lively(entry)
    expected = run(module, x)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other, _ = example(entry)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(run(other.eval(), x), expected, strict=True))


@MANY
def test_learns_through_every_parameter(entry):
    module, x = lively(entry)
    x = each(lambda part: part.requires_grad_(), x)
    sum((leaf * torch.randn_like(leaf)).sum() for leaf in leaves(module.train()(x))).backward()
    without = [name for name, value in module.named_parameters() if value.requires_grad and value.grad is None]
    assert not without
    assert all(part.grad.isfinite().all() for part in leaves(x))


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind != "conv"], ids=lambda entry: entry.name)
def test_what_follows_may_add_in_place(entry):
    """As the residual blocks of mmdet's ResNets do with what ends a branch."""
    module, x = lively(entry)
    gradients = {torch.Tensor.add: [], torch.Tensor.add_: []}
    for add, found in gradients.items():
        other, inputs = copy.deepcopy(module).train(), each(lambda part: part.clone().requires_grad_(), x)
        torch.manual_seed(0)
        for leaf in leaves(other(inputs)):
            loss = add(leaf, 1).square().sum()
            found += torch.autograd.grad(loss, leaves(inputs), retain_graph=True, materialize_grads=True)
    assert_close(*gradients.values(), 1e-6)


@MANY
def test_memory_order_does_not_matter(entry):
    module, x = lively(entry)
    expected = run(module, x)
    scattered = each(lambda part: part.transpose(-1, -2).contiguous().transpose(-1, -2), x)
    assert_close(run(module, scattered), expected, 1e-5)
    if is_map(x):
        last = copy.deepcopy(module)
        for value in last.parameters():  # not module.to(memory_format=...): that refuses parameters of five dimensions
            if value.dim() == 4:
                value.data = value.data.contiguous(memory_format=torch.channels_last)
        assert_close(run(last, x.contiguous(memory_format=torch.channels_last)), expected, 1e-5)


@MANY
def test_empty_batches_pass(entry):
    module, x = lively(entry)
    for one, other in zip(run(module, each(lambda part: part[:0], x)), run(module, x), strict=True):
        assert one.shape == (0, *other.shape[1:])


@MANY
@pytest.mark.parametrize("size", [(1, 1), (13, 9)], ids=str)
def test_other_sizes(entry, size):
    module, x = lively(entry)
    if not is_map(x):
        pytest.skip("not for maps")
    x = torch.randn(2, x.shape[1], *size)
    if entry.name in FIXED_SIZE:
        with pytest.raises(ValueError, match=entry.name):
            module(x)
    else:
        assert all(leaf.isfinite().all() for leaf in run(module, x))


@MANY
def test_bfloat16_is_near_float32(entry):
    module, x = lively(entry)
    expected = run(module, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(run(module, x), expected, 0.06)


@MANY
def test_compiles_and_exports_whole(entry):
    module, x = lively(entry)
    expected = run(module, x)
    assert_close(run(torch.compile(module, backend="eager", fullgraph=True), x), expected, 1e-5)
    torch.compiler.reset()
    assert_close(run(torch.export.export(module, (x,), strict=False).module(), x), expected, 1e-5)


def test_every_name_is_a_class_of_its_own_file():
    for entry in ENTRIES:
        assert MODELS.get(entry.name).__module__ == entry.module
