"""TimmBackbone: timm's own maps, the authors' checkpoints, and errors that say what would be right."""

import re
from pathlib import Path

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

import toolkit  # noqa: F401
from toolkit.backbones.convnext import ConvNeXt
from toolkit.backbones.poolformer import PoolFormer
from toolkit.backbones.timm import TimmBackbone
from toolkit.necks.simple_feature_pyramid import SimpleFeaturePyramid
from toolkit.published import convert


def picture(*size: int) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def random_weights(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.5 * torch.randn_like(value) / max(value[0].numel(), 1) ** 0.5 + (value.dim() == 1))
    return model.eval()


def authors_convnext(model: ConvNeXt) -> dict[str, torch.Tensor]:
    """The weights of `model` under the names of ConvNeXt's authors."""
    renames = (
        (r"^net\.stem_", "downsample_layers.0."),
        (r"^net\.stages_(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^net\.stages_(\d)\.blocks\.", r"stages.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
    )
    found = {}
    for key, value in model.state_dict().items():
        for pattern, new in renames:
            key = re.sub(pattern, new, key)
        found[key] = value.flatten(1) if key.endswith(("pwconv1.weight", "pwconv2.weight")) else value
    return found


@pytest.mark.parametrize("arch", ["resnet18", "convnext_atto", "pvt_v2_b0", "efficientnet_b0", "swin_s3_tiny_224"])
def test_gives_timm_s_own_maps(arch: str):
    model = TimmBackbone(arch, out_indices=(1, 2)).eval()
    theirs = timm.create_model(arch, pretrained=False, features_only=True, out_indices=(1, 2)).eval()
    theirs.load_state_dict(model.net.state_dict())
    size = (224, 224) if "swin" in arch else (64, 96)
    with torch.no_grad():
        for one, other in zip(model(picture(*size)), theirs(picture(*size)), strict=True):
            assert torch.equal(one, other.permute(0, 3, 1, 2) if "swin" in arch else other)


def test_authors_weights_load_directly_from_a_file_and_inside_a_detector(tmp_path: Path):
    source = random_weights(ConvNeXt("atto"))
    published = authors_convnext(source)
    assert "stages.0.0.pwconv1.weight" in published
    with torch.no_grad():
        expected = source(picture(64, 64))

    direct = ConvNeXt("atto").eval()
    direct.load_state_dict(published)

    path = tmp_path / "convnext.pth"
    torch.save({"model": {**published, "head.weight": torch.zeros(10, 320), "norm.weight": torch.zeros(320)}}, path)
    from_file = ConvNeXt("atto", init_cfg=dict(type="Pretrained", checkpoint=str(path))).eval()
    from_file.init_weights()

    detector = nn.ModuleDict({"backbone": ConvNeXt("atto"), "head": nn.Conv2d(320, 2, 1)}).eval()
    file = {f"backbone.{key}": value for key, value in published.items()}
    converted = convert(file | {f"head.{key}": value for key, value in detector["head"].state_dict().items()}, detector)
    assert converted.complete
    detector.load_state_dict(converted.state_dict)

    for model in (direct, from_file, detector["backbone"]):
        with torch.no_grad():
            assert all(torch.equal(one, other) for one, other in zip(model(picture(64, 64)), expected, strict=True))


def test_timm_s_weights_load_as_timm_names_them():
    theirs = random_weights(timm.create_model("poolformer_s12", pretrained=False))
    model = PoolFormer("s12", out_norm=None).eval()
    model.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        _, maps = theirs.forward_intermediates(picture(64, 96))
        assert all(torch.equal(one, other) for one, other in zip(model(picture(64, 96)), maps, strict=True))


def test_foreign_weights_are_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        ConvNeXt("atto").load_state_dict(timm.create_model("resnet18", pretrained=False).state_dict())


def test_output_norms_are_over_channels_and_over_the_picture():
    with torch.no_grad():
        plain = ConvNeXt("atto", out_indices=(1, 3)).eval()(picture(64, 96))
        grouped = PoolFormer("s12", out_indices=(1, 3)).eval()(picture(64, 96))
    for out in plain:
        torch.testing.assert_close(out.mean(1), torch.zeros_like(out.mean(1)), atol=1e-4, rtol=0)
    for out in grouped:
        assert abs(float(out.mean())) < 1e-4
        assert float(out.mean(1).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(arch="convnexttiny"), "no network 'convnexttiny'; did you mean 'convnext_tiny'"),
        (dict(arch="resnet18", out_indices=(7,)), r"resnet18 has no maps \(7,\)"),
        (dict(arch="resnet18", out_norm="BN"), "out_norm must be None, LN or GN, got 'BN'"),
        (dict(arch="hrnet_w18_small", drop_path_rate=0.1), "hrnet_w18_small does not take .*drop_path_rate"),
        (dict(arch="efficientnet_b0", frozen_stages=1), "frozen_stages must be -1"),
    ],
)
def test_wrong_arguments_are_named(args: dict, message: str):
    with pytest.raises(ValueError, match=f"TimmBackbone: .*{message}"):
        TimmBackbone(**args)


def test_a_plain_transformer_gets_a_pyramid():
    backbone = TimmBackbone("vit_tiny_patch16_224", out_indices=(11,), frozen_stages=3)
    assert backbone.strides == (16,)
    trained = {name for name, value in backbone.named_parameters() if value.requires_grad}
    assert not any(name.startswith(("net.model.patch_embed", "net.model.pos_embed")) for name in trained)
    assert {int(name.split(".")[3]) for name in trained if ".blocks." in name} == set(range(3, 12))
    neck = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=backbone.out_channels, out_channels=16))
    levels = neck(backbone(picture(128, 160)))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (16, 32, 40), (16, 16, 20), (16, 8, 10), (16, 4, 5), (16, 2, 3)
    ]  # fmt: skip
    for level in levels:  # normed over channels
        torch.testing.assert_close(level.mean(1), torch.zeros_like(level.mean(1)), atol=1e-4, rtol=0)


def test_levels_of_the_simple_pyramid_see_the_same_map():
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(8, 4, num_outs=4).eval()
    x = torch.randn(1, 8, 6, 6)
    changed = x.clone()
    changed[..., 0, 0] += 1
    with torch.no_grad():
        for one, other, scale in zip(neck([x]), neck([changed]), (4, 2, 1, 0.5), strict=True):
            touched = (one != other).any(1)[0].nonzero()
            assert len(touched)
            assert touched.max() <= scale + 1  # the 3x3 convolution looks one place further
    for wrong in (dict(scales=(3,)), dict(scales=(8,)), dict(num_outs=2)):
        with pytest.raises(ValueError, match=r"SimpleFeaturePyramid: .*got"):
            SimpleFeaturePyramid(8, 4, **wrong)
