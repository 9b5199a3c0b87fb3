import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.nn import functional as F

from toolkit.engine.orthogonality import (
    OrthogonalityHook,
    filter_orthogonality,
    input_orthogonality,
    matrix_orthogonality,
)
from toolkit.errors import UserError


def matrix_of(kernel: torch.Tensor, side: int, stride: int) -> torch.Tensor:
    """The convolution of (in, side, side) without padding, one row for each output."""
    pixels = torch.eye(kernel.shape[1] * side * side).view(-1, kernel.shape[1], side, side)
    return F.conv2d(pixels, kernel, stride=stride).flatten(1).T


@pytest.mark.parametrize("stride", [1, 2])
def test_distance_is_that_of_the_layer_s_matrix(stride: int):
    torch.manual_seed(0)
    kernel = 0.2 * torch.randn(4, 3, 3, 3)
    rows = matrix_of(kernel, 9, stride)
    products = rows @ rows.T - torch.eye(len(rows))
    places = int((len(rows) // 4) ** 0.5)
    middle = products.view(4, places * places, -1)[:, (places // 2) * places + places // 2]  # sees all its overlaps
    torch.testing.assert_close(filter_orthogonality(kernel, stride), middle.norm())


def test_columns_are_those_of_the_layer_s_matrix():
    torch.manual_seed(0)
    kernel = 0.2 * torch.randn(8, 2, 3, 3)
    columns = matrix_of(kernel, 5, 1)  # of a picture in which the middle pixel meets every tap
    products = (columns.T @ columns - torch.eye(50)).view(2, 25, 50)[:, 12]
    torch.testing.assert_close(input_orthogonality(kernel), products.norm())


def test_a_centred_delta_is_orthogonal_at_stride_2_but_not_with_the_published_padding():
    kernel = torch.zeros(4, 4, 3, 3)
    kernel[range(4), range(4), 1, 1] = 1
    assert filter_orthogonality(kernel, 2) == filter_orthogonality(kernel, 1) == 0
    assert filter_orthogonality(kernel, 2, padding=1) == 2
    orthogonal, _ = torch.linalg.qr(torch.randn(6, 6))
    assert matrix_orthogonality(orthogonal[:4, :, None, None]) < 1e-5


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.layer1 = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, groups=4))

    def forward(self, x: torch.Tensor, mode: str = "tensor"):
        y = self.layer1(self.stem(x))
        return dict(loss_task=0 * y.mean()) if mode == "loss" else y


def train(hook: Hook, tmp_path) -> Net:
    torch.manual_seed(0)
    model = Net()
    pictures = [torch.randn(3, 9, 9) for _ in range(60)]
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(dataset=pictures, sampler=dict(type="DefaultSampler"), batch_size=1),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        custom_hooks=[hook],
        log_level="ERROR",
        experiment_name=tmp_path.name,
    )
    runner.train()
    return model


def test_the_hook_makes_chosen_layers_orthogonal_and_leaves_the_rest(tmp_path):
    torch.manual_seed(0)
    before = Net()
    model = train(OrthogonalityHook(weight=0.5), tmp_path)
    for distance, layer, args in ((filter_orthogonality, 0, (2,)), (matrix_orthogonality, 1, ())):
        assert distance(model.layer1[layer].weight, *args) < 0.3 * distance(before.layer1[layer].weight, *args)
    assert torch.equal(model.stem.weight, before.stem.weight)
    assert torch.equal(model.layer1[2].weight, before.layer1[2].weight)
    assert model(torch.randn(1, 3, 9, 9), mode="loss").keys() == {"loss_task"}  # it is gone after training


def test_a_name_that_fits_nothing_is_said(tmp_path):
    with pytest.raises(UserError, match=r"layers='neck' names no convolution; there are stem, layer1\.0"):
        train(OrthogonalityHook("neck"), tmp_path)
