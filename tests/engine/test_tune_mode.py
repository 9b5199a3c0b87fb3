"""mmengine's `efficient_conv_bn_eval`: batch norms in evaluation mode fold into their convolutions at every step.

Tune mode of Efficient ConvBN Blocks for Transfer Learning and Beyond, ICLR 2024, arXiv 2305.11624.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import Tensor, nn

from toolkit.engine.runner import ToolkitRunner
from toolkit.ops import load_mmdet


class Tuned(BaseModel):
    """A network of two blocks whose batch norms keep their statistics; counts what its norms are asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3, groups=2, bias=False),
            nn.BatchNorm2d(4),
        )
        for norm in self.norms():
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.running_mean)
        self.calls = 0

    def norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.backbone if isinstance(module, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> "Tuned":
        super().train(mode)
        for norm in self.norms():
            norm.eval()
        return self

    def forward(self, *pictures: Tensor, mode: str = "tensor") -> Tensor | dict[str, Tensor]:
        handles = [norm.register_forward_hook(self.count) for norm in self.norms()]
        y = self.backbone(torch.stack(pictures))
        for handle in handles:
            handle.remove()
        return dict(loss=y.square().mean()) if mode == "loss" else y

    def count(self, *_: object) -> None:
        self.calls += 1


def train(tmp_path: Path, **config: object) -> Tuned:
    torch.manual_seed(1)
    pictures = [torch.randn(3, 8, 8) for _ in range(8)]
    runner = ToolkitRunner(
        Tuned(),
        str(tmp_path),
        train_dataloader=dict(dataset=pictures, sampler=dict(type="DefaultSampler", shuffle=False), batch_size=2),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05)),
        experiment_name=tmp_path.name,
        cfg=Config(config),
    )
    return runner.train()


def test_trains_alike_without_asking_the_norms(tmp_path):
    plain = train(tmp_path / "plain")
    tuned = train(tmp_path / "tuned", efficient_conv_bn_eval=["backbone"])
    assert plain.calls == 2 * 8  # two norms, eight steps
    assert tuned.calls == 0
    start = Tuned().state_dict()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[key], value, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(start["backbone.1.weight"], tuned.backbone[1].weight)


def kept_for_backward(network: nn.Module, x: Tensor) -> tuple[float, list[Tensor]]:
    """MiB of tensors other than weights that a forward pass keeps, and its outputs."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs = network(x)
    return sum(sizes.values()) / 2**20, outputs


def test_resnet50_keeps_a_quarter_less():
    load_mmdet()
    from mmdet.models.backbones import ResNet

    torch.manual_seed(0)
    network, x = ResNet(50, norm_eval=True), torch.randn(4, 3, 224, 224)
    network.train()
    plain, expected = kept_for_backward(network, x)
    turn_on_efficient_conv_bn_eval_for_single_model(network)
    tuned, outputs = kept_for_backward(network, x)
    assert tuned == pytest.approx(0.756 * plain, rel=0.01)
    for output, value in zip(outputs, expected, strict=True):
        assert (output - value).abs().max() < 1e-5 * value.abs().max()
