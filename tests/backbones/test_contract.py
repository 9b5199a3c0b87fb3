"""What every backbone promises: channels, chosen maps, frozen stages, recomputation, any size of picture.

A new backbone is one line in EXAMPLES: a small form of it. `test_every_backbone_is_here` fails until it is there.
"""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import toolkit  # noqa: F401
from toolkit.catalogue import entries

EXAMPLES: dict[str, dict] = {
    "ConvNeXt": dict(arch="atto"),
    "InceptionNeXt": dict(arch="atto"),
    "PoolFormer": dict(arch="s12"),
    "LowFormer": dict(arch="b0"),
    "TimmBackbone": dict(arch="resnet18"),
    "CrossViT": dict(arch="tiny_240"),
    "HorNet": dict(arch=dict(base_dim=16, depths=(1, 1, 2, 1), orders=(2, 3, 4, 5), gf_stages=(2, 3))),
    "UniRepLKNet": dict(arch=dict(dims=(8, 16, 24, 32), kernel_sizes=((3,), (13, 3), (13, 7), (9,)))),
    "LSNet": dict(arch=dict(embed_dim=(16, 32, 48, 64), depth=(1, 2, 2, 2))),
    "SpaRTAN": dict(arch=dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), expand_ratios=(4, 4, 2, 2))),
    "GLNet": dict(
        arch=dict(
            embed_dim=(8, 16, 24, 32),
            depth=(1, 1, 2, 1),
            mlp_ratios=(2, 2, 2, 2),
            mixing_modes=("glmix", "glmix", "glmix.mha_nchw", "mha"),
            head_dim=8,
            num_slots=16,
            downsample_style="ovlp",
            cpe_ks=3,
            mlp_dw=True,
        ),
    ),
    "CvT": dict(arch=dict(dim_embed=(8, 12, 16), num_heads=(1, 3, 2), depth=(1, 1, 4))),
    "DeepMAD": dict(
        arch=[
            {"class": "ConvKXBNRELU", "in": 3, "k": 3, "out": 8, "s": 2},
            {"class": "SuperResK1KXK1", "in": 8, "k": 5, "out": 16, "s": 2, "btn": 8, "L": 1},
            {"class": "SuperResK1KXK1", "in": 16, "k": 5, "out": 24, "s": 2, "btn": 8, "L": 2},
            {"class": "SuperResK1KXK1", "in": 24, "k": 3, "out": 24, "s": 2, "btn": 8, "L": 2},
            {"class": "SuperResK1KXK1", "in": 24, "k": 3, "out": 32, "s": 2, "btn": 8, "L": 2},
        ],
    ),
    "DHVT": dict(arch=dict(embed_dim=16, depth=4, num_heads=2), out_indices=(0, 3)),
    "ViTCoMer": dict(
        arch=dict(
            embed_dim=16,
            num_heads=2,
            depth=8,
            conv_inplane=8,
            deform_num_heads=2,
            interaction_indexes=((0, 1), (2, 3), (4, 5), (6, 7)),
        ),
    ),
    "VGG16BN": dict(widen_factor=0.25),
    "VGG19": dict(widen_factor=0.25),
    "SLABSwin": dict(embed_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), img_size=64),
    "SLABDeiT": dict(embed_dim=16, depth=3, num_heads=2, img_size=64, out_indices=(0, 1, 2)),
    "AFFNet": dict(arch="xx_small"),
    "SMT": dict(
        arch=dict(
            embed_dims=(8, 16, 16, 32),
            depths=(1, 1, 2, 1),
            mlp_ratios=(4, 4, 4, 2),
            head_conv=3,
            ca_num_heads=(2, 4, 4, -1),
            sa_num_heads=(-1, -1, 2, 4),
        )
    ),
    "EfficientMod": dict(
        arch=dict(embed_dim=(8, 16, 16, 32), depths=(2, 1, 1, 1), attention=(0, 0, 1, 1), expansions=((1, 6),) * 4)
    ),
    "YOLOMSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.1),
    "YOLOv8MSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.1),
}
WITHOUT_STOCHASTIC_DEPTH = {"VGG16BN", "VGG19", "YOLOMSBackbone", "YOLOv8MSBackbone"}
# Other arguments than the rest: made of mmdet ResNets, around another backbone, or tested in their own file.
ELSEWHERE = {"ARCResNet", "ECAResNet", "FDConvResNet", "NiNformer", "SFMBackbone"}
EVERY = pytest.mark.parametrize("name", EXAMPLES)


def build(name: str, **args) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, in_channels=4, **EXAMPLES[name] | args))


def picture(height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(1))


def loss(outs) -> torch.Tensor:
    return sum(out.square().mean() for out in outs)


def test_every_backbone_is_here():
    missing = {entry.name for entry in entries("backbones")} - EXAMPLES.keys() - ELSEWHERE
    assert not missing


@EVERY
@pytest.mark.parametrize("size", [(64, 64), (97, 121), (321, 479)], ids=str)
def test_maps_have_the_promised_channels_and_strides(name: str, size: tuple[int, int]):
    model = build(name).eval()
    with torch.no_grad():
        outs = model(picture(*size))
    assert isinstance(outs, tuple)
    assert len(outs) == len(model.out_indices) == len(model.out_channels) == len(model.strides)
    for out, channels, stride in zip(outs, model.out_channels, model.strides, strict=True):
        assert out.shape[:2] == (2, channels)
        assert out.isfinite().all()
        for side, whole in zip(out.shape[2:], size, strict=True):
            assert whole // stride <= side <= -(-whole // stride)


@EVERY
def test_out_indices_choose_among_the_maps(name: str):
    every = build(name).eval()
    last = every.out_indices[-1]
    some = build(name, out_indices=(every.out_indices[0], last)).eval()
    some.load_state_dict({key: value for key, value in every.state_dict().items() if key in some.state_dict()})
    with torch.no_grad():
        outs, chosen = every(picture()), some(picture())
    assert all(torch.equal(one, other) for one, other in zip(chosen, (outs[0], outs[-1]), strict=True))
    for wrong in ((last + 10,), (last, every.out_indices[0])):
        with pytest.raises(ValueError, match=name):
            build(name, out_indices=wrong)


@EVERY
def test_frozen_stages_stay_as_they_are(name: str):
    def moving(frozen_stages: int) -> set[str]:  # parameters that training reaches, statistics that it changes
        model = build(name, frozen_stages=frozen_stages).train()
        before = copy.deepcopy(model.state_dict())
        loss(model(picture())).backward()
        reached = {key for key, value in model.named_parameters() if value.grad is not None}
        return reached | {key for key, value in model.named_buffers() if not torch.equal(value, before.get(key, value))}

    free, stem, two = moving(-1), moving(0), moving(2)
    assert two < stem <= free
    assert (stem < free) == bool(build(name).parts()[0])  # a VGG has no stem
    with pytest.raises(ValueError, match="frozen_stages"):
        build(name, frozen_stages=40)


@EVERY
def test_recomputing_changes_neither_gradients_nor_statistics(name: str):
    depth = {} if name in WITHOUT_STOCHASTIC_DEPTH else dict(drop_path_rate=0.3)
    plain, saving = build(name, **depth), build(name, with_cp=True, **depth)
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        torch.manual_seed(2)
        loss(model.train()(picture())).backward()
    for (key, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), key
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, msg=key)
    for (key, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(one, other), key


@EVERY
def test_recomputing_keeps_fewer_tensors(name: str):
    def kept(with_cp: bool) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        model = build(name, with_cp=with_cp).train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(picture(96, 96))
        return total

    assert kept(True) < 0.7 * kept(False)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in WITHOUT_STOCHASTIC_DEPTH])
def test_stochastic_depth_drops_in_training_alone(name: str):
    model = build(name, drop_path_rate=0.9)
    for module in model.modules():
        if isinstance(module, _BatchNorm):  # so that only dropped paths can differ
            module.momentum = 0.0

    def differs(training: bool) -> bool:
        model.train(training)
        with torch.no_grad():
            first, second = ([out.clone() for out in model(picture())] for _ in range(2))
        return any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-3:  # layer scales begin near 0
                parameter.fill_(0.1)
    assert differs(True)
    assert not differs(False)
