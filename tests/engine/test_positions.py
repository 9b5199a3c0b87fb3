"""ClampPositionsHook: in a real training run, positions never leave their window."""

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from toolkit.modules.conv.dcls import Dcls1d


class Pushed(BaseModel):
    """Its loss drives positions to the right without end."""

    def __init__(self):
        super().__init__()
        self.conv = Dcls1d(1, 1, 5, kernel_count=2)

    def forward(self, inputs: Tensor, mode: str = "loss") -> dict[str, Tensor]:
        return dict(loss=-self.conv.P.sum() + 0 * inputs.sum())


def train(tmp_path, hooks: list[dict]) -> Tensor:
    runner = Runner(
        Pushed(),
        str(tmp_path),
        DataLoader([torch.zeros(1)] * 8, collate_fn=lambda batch: dict(inputs=torch.stack(batch))),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1.0)),
        custom_hooks=hooks,
        default_hooks=dict(checkpoint=None, logger=None),
        log_level="ERROR",
        experiment_name=f"positions{len(hooks)}",
    )
    runner.train()
    return runner.model.conv.P.detach()


def test_positions_stay_in_the_window(tmp_path):
    assert train(tmp_path, []).min() > 5
    assert train(tmp_path, [dict(type="ClampPositionsHook")]).unique().tolist() == [2.0]
