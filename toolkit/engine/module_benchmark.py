"""Every module in the same place of the same small networks, trained alike.

Two networks for small pictures, a data set that needs no download, and a short training: enough to see what a module
costs and whether it helps, not what it reaches on large data.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.models import ResNet
from mmdet.models.backbones.resnet import BasicBlock
from mmengine.registry import MODELS
from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.catalogue import CHANNELS, entries, example_args
from toolkit.data.class_folders import find_classes
from toolkit.data.digits import COUNTS, make_digits
from toolkit.data.images import read_image
from toolkit.errors import UserError
from toolkit.modules.norm.prepbn import PRepBN
from toolkit.timing import count_macs, count_parameters, interleaved, memory_growth, ratio

PLAIN = "plain"  # the network as it is
WIDTH = 32  # of the first stage; each doubles it
BATCH = 64
Data = tuple[Tensor, Tensor, Tensor, Tensor]  # pictures and classes to train on, and to validate on


# ---------------------------------------------------------------------------------------------------------- networks


def build(network: str, module: str, classes: int, size: int) -> nn.Module:
    """A network for pictures of `size` pixels with `module` in its place in every block."""
    net = resnet18(classes) if network == "resnet18" else convnext(classes)
    if module != PLAIN:
        put(net, module, size)
    return net


class LastMap(ResNet):
    """A ResNet that gives its last map alone."""

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, 8 * WIDTH, H / 16, W / 16)
        return super().forward(x)[-1]


def resnet18(classes: int) -> nn.Module:
    """ResNet-18 of half the usual width, with a 3x3 stem and no pooling, for small pictures."""
    net = LastMap(depth=18, base_channels=WIDTH, stem_channels=WIDTH, out_indices=(3,), norm_eval=False)
    net.conv1 = nn.Conv2d(3, WIDTH, 3, 2, 1, bias=False)
    net.maxpool = nn.Identity()
    return nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * WIDTH, classes))


def convnext(classes: int) -> nn.Module:
    """A ConvNeXt of two blocks a stage for small pictures."""
    dims = tuple(WIDTH * 2**stage for stage in range(4))
    return ConvNeXt(num_classes=classes, depths=(2, 2, 2, 2), dims=dims, patch_size=2)


def put(net: nn.Module, name: str, size: int) -> None:
    """Put module `name` into every block of `net`, in place."""
    entry = next(entry for entry in entries("modules") if entry.name == name)
    cls = MODELS.get(name)
    places = {}  # block -> (name of its convolution, name of what follows)
    for block in net.modules():
        if isinstance(block, BasicBlock):
            places[block] = ("conv2", "bn2")
        elif isinstance(block, ConvNeXtBlock):
            places[block] = ("conv_dw", "conv_dw")
    sides = map_sizes({block: getattr(block, conv) for block, (conv, _) in places.items()}, net, size)
    for block, (conv, last) in places.items():
        channels = getattr(block, conv).out_channels
        module = cls(**arguments(cls, channels, sides[block]))
        if entry.kind == "conv":
            setattr(block, conv, module)
        elif entry.kind == "norm":
            replace_norms(block, cls)
        else:
            setattr(block, last, nn.Sequential(getattr(block, last), module))
    with torch.no_grad():
        net.eval()(torch.randn(2, 3, size, size))  # a module that does not fit says so here


def map_sizes(convs: dict, net: nn.Module, size: int) -> dict:
    """(height, width) of the map that each convolution gives, by the keys of `convs`."""
    sides: dict = {}
    hooks = [
        conv.register_forward_hook(lambda _, __, y, key=key: sides.update({key: tuple(y.shape[2:])}))
        for key, conv in convs.items()
    ]
    with torch.no_grad():
        net.eval()(torch.randn(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sides


def arguments(cls: type, channels: int, side: tuple[int, int]) -> dict:
    """Arguments for a place with `channels` channels and maps of `side`, from those of the module's example."""
    args = example_args(cls, channels)
    sizes = dict(size=side, height=side[0], width=side[1], h=side[0], w=side[1])
    for name, value in args.items():
        if name in sizes:
            args[name] = sizes[name]
        elif value == CHANNELS and isinstance(value, int):
            args[name] = channels
    return args


def replace_norms(block: nn.Module, cls: type) -> None:
    """Every batch norm in `block` as `cls`."""
    for name, child in list(block.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(block, name, cls(child.num_features))


# -------------------------------------------------------------------------------------------------------------- data


def load_data(folder: Path | None, size: int) -> Data:
    """Pictures (N, 3, size, size) in [-1, 1] and their classes, to train on and to validate on."""
    return digits(size) if folder is None else pictures(folder, size)


def digits(size: int, count: tuple[int, int] = COUNTS) -> Data:
    """`toolkit.data.digits` as tensors; the same at every call."""
    try:
        (x, y), (val_x, val_y) = make_digits(size, count)
    except UserError as error:
        raise UserError(f"{error}, or give --data DIR") from None
    return torch.from_numpy(x), torch.from_numpy(y).long(), torch.from_numpy(val_x), torch.from_numpy(val_y).long()


def pictures(folder: Path, size: int) -> Data:
    """Pictures below one folder a class; every fifth of each class, in the order of names, is for validation.

    Raises:
        UserError: there are not two classes with five pictures each, or a picture cannot be read.
    """
    parts: tuple[list, list] = ([], [])
    for label, (name, files) in enumerate(find_classes(folder).items()):
        if len(files) < 5:
            raise UserError(f"{folder / name}: {len(files)} pictures; each class needs 5 at least")
        for number, file in enumerate(files):
            picture = cv2.resize(read_image(file), (size, size), interpolation=cv2.INTER_AREA)
            parts[number % 5 == 4].append((picture.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1, label))
    train, val = parts
    return (
        torch.from_numpy(np.stack([x for x, _ in train])),
        torch.tensor([y for _, y in train]),
        torch.from_numpy(np.stack([x for x, _ in val])),
        torch.tensor([y for _, y in val]),
    )


# ---------------------------------------------------------------------------------------------------------- training


def cost(network: str, module: str, classes: int, size: int) -> dict:
    """Parameters, multiply-adds, times and memory of a network with the module."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    net = build(network, module, classes, size).train()
    x = torch.randn(BATCH, 3, size, size)
    with memory_growth(device) as growth:
        net(x).sum().backward()
    plain = build(network, PLAIN, classes, size).train()
    steps = {name: lambda n=n: n(x).sum().backward() for name, n in (("net", net), ("plain", plain))}
    step = interleaved(steps, 5, device)
    net.eval(), plain.eval()
    with torch.inference_mode():
        calls = {name: lambda n=n: n(x) for name, n in (("net", net), ("plain", plain))}
        forward = interleaved(calls, 5, device)
        macs = count_macs(lambda: net(x[:1]))
    return dict(
        params=count_parameters(net),
        macs=macs,
        forward_ms=1000 * min(forward["net"]),
        forward_ratio=ratio(forward["net"], forward["plain"]),
        step_ms=1000 * min(step["net"]),
        step_ratio=ratio(step["net"], step["plain"]),
        memory=growth[0] if growth else None,
    )


def train(net: nn.Module, data, epochs: int, seed: int) -> float:
    """Train `net` and give its share of right answers on the validation pictures after the last epoch."""
    pictures, labels, val_pictures, val_labels = data
    batch = min(BATCH, len(pictures))
    steps = epochs * (len(pictures) // batch)
    for module in net.modules():
        if isinstance(module, PRepBN):  # which is another norm in training than in evaluation until its steps are over
            module.restart(steps * 3 // 4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        net.train()
        for chosen in torch.randperm(len(pictures), generator=generator).split(batch):
            if len(chosen) < batch:
                continue
            loss = F.cross_entropy(net(shift(pictures[chosen], generator)), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.inference_mode():
        right = sum(
            int((net(x).argmax(1) == y).sum())
            for x, y in zip(val_pictures.split(256), val_labels.split(256), strict=True)
        )
    return right / len(val_labels)


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to an eighth of its side, its edges repeated."""
    reach = x.shape[-1] // 8
    top, left = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return padded[..., top : top + x.shape[-2], left : left + x.shape[-1]]
