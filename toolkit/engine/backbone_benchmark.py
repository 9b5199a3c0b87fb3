"""What `benchmark.py backbones` measures: backbones with random weights, and what each costs at a size of picture."""

from collections.abc import Callable
from copy import deepcopy
from statistics import median
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

import toolkit  # noqa: F401  files the names
from toolkit.deploy import deploy
from toolkit.timing import count_macs, count_parameters, deviation, enliven, interleaved, memory_growth, ratio

SMALLEST: dict[str, dict[str, Any]] = {  # the smallest published variant of each family
    "AFFNet": dict(arch="xx_small"),
    "ARCResNet": dict(depth=50),
    "ConvNeXt": dict(arch="tiny"),
    "CrossViT": dict(arch="tiny_240"),
    "CvT": dict(arch="13"),
    "DeepMAD": dict(arch="R18"),
    "DHVT": dict(arch="tiny"),
    "ECAResNet": dict(depth=18),
    "EfficientMod": dict(arch="xxs"),
    "FDConvResNet": dict(depth=50),
    "GLNet": dict(arch="4g"),
    "HorNet": dict(arch="tiny_7x7"),
    "InceptionNeXt": dict(arch="atto"),
    "LowFormer": dict(arch="b0"),
    "LSNet": dict(arch="t"),
    "NiNformer": dict(arch="cifar"),
    "PoolFormer": dict(arch="s12"),
    "SLABDeiT": dict(embed_dim=192),
    "SLABSwin": dict(embed_dim=96),
    "SMT": dict(arch="tiny"),
    "SpaRTAN": dict(arch="t"),
    "TimmBackbone": dict(arch="resnet18"),
    "UniRepLKNet": dict(arch="a"),
    "VGG16BN": dict(),
    "VGG19": dict(),
    "ViTCoMer": dict(arch="tiny"),
    "YOLOMSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.4),
    "YOLOv8MSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.15),
}
OF_ONE_SIZE = ("NiNformer",)  # built for pictures of one size


def variant(name: str) -> str:
    """What tells the smallest variant of a family from its larger ones."""
    return ", ".join(str(round(value, 2) if isinstance(value, float) else value) for value in SMALLEST[name].values())


def build(name: str, size: int) -> nn.Module:
    """The smallest variant of a family, in evaluation mode, with the random weights of seed 0.

    Args:
        name: of SMALLEST.
        size: side of the pictures, for those that are built for one size.
    """
    torch.manual_seed(0)
    fixed = dict(image_size=size) if name in OF_ONE_SIZE else {}
    network = MODELS.build(dict(type=name, **SMALLEST[name], **fixed))
    enliven(network)
    return network.eval()


def picture(size: int, batch: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(device)


def cost(name: str, size: int, batch: int, threads: int, device_name: str) -> dict[str, float | int | None]:
    """Parameters, multiply-adds of one picture, and MiB by which memory grows at most while a batch is run.

    For a process of its own: memory on a CPU means nothing where the same ran before.
    """
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    network = build(name, size).to(device)
    x = picture(size, batch, device)
    with torch.inference_mode(), memory_growth(device) as growth:
        network(x)
    macs = count_macs(lambda: network(x[:1]))
    return dict(params=count_parameters(network), macs=macs, memory=growth[0] if growth else None)


def time_together(
    names: list[str],
    size: int,
    batch: int,
    device: torch.device,
    repeats: int,
    deployed: bool,
    on_round: Callable[[], None],
) -> dict[str, dict[str, float]]:
    """Times of the backbones at one size, each run once in every round.

    Returns:
        By name `ms` for one picture; with `deployed` also `deploy_ms`, `deploy_ratio` (to `ms`, median over the rounds)
        and `deviation` (see `toolkit.timing.deviation`).
    """
    x = picture(size, batch, device)
    networks = {(name, "plain"): build(name, size).to(device).requires_grad_(False) for name in names}
    if deployed:
        networks |= {(name, "deploy"): deploy(deepcopy(networks[name, "plain"])) for name in names}
    with torch.inference_mode():
        seconds = interleaved(
            {key: lambda network=network: network(x) for key, network in networks.items()},
            repeats,
            device,
            on_round=on_round,
        )
        found = {}
        for name in names:
            plain = seconds[name, "plain"]
            found[name] = dict(ms=1000 * median(plain) / batch)
            if deployed:
                own = seconds[name, "deploy"]
                off = deviation(networks[name, "deploy"](x), networks[name, "plain"](x))
                found[name] |= dict(deploy_ms=1000 * median(own) / batch, deploy_ratio=ratio(own, plain), deviation=off)
    return found
