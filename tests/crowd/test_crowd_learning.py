import numpy as np
import torch
from mmengine.registry import MODELS
from scipy.ndimage import gaussian_filter

from toolkit.crowd.transforms import PackCrowd


def spots(rng: np.random.Generator) -> dict:
    """A grey noisy picture with a number of soft bright heads."""
    points = rng.uniform(4, 60, (rng.integers(0, 25), 2))
    heads = np.zeros((64, 64))
    np.add.at(heads, (points[:, 1].astype(int), points[:, 0].astype(int)), 1)
    image = 60 + 1500 * gaussian_filter(heads, 1.5) + rng.normal(0, 8, (64, 64))
    image = np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    return PackCrowd(sigma=3.0).transform({"img": image, "points": points, "spacing": np.full(len(points), 10.0)})


def collate(samples: list[dict]) -> dict:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def test_learns_to_count_better_than_the_mean():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="CrowdCounter",
            network=dict(type="MSegNet", widen_factor=0.125),
            density_scale=20.0,
            loss=[
                dict(type="DensityAttentionLoss", density_weight=100.0, attention_weight=0.003),
                dict(type="RegionCountLoss", sizes=(0, 16), loss_weight=0.1),
            ],
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=80)
    for _ in range(80):
        data = model.data_preprocessor(collate([spots(rng) for _ in range(8)]), True)
        optimizer.zero_grad()
        sum(model(**data, mode="loss").values()).backward()
        optimizer.step()
        rates.step()
    test = collate([spots(np.random.default_rng(seed)) for seed in range(1, 25)])
    with torch.no_grad():
        counts = [float(density.sum()) for density in model.eval().val_step(test)]
    true = np.array(test["count"])
    error, floor = np.abs(np.array(counts) - true).mean(), np.abs(true - true.mean()).mean()
    assert error < 0.5 * floor, (error, floor)
