"""Segmentation of pictures and videos by a network whose answer is known: each pixel's class is its largest channel."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from PIL import Image
from torch import nn

import toolkit
from toolkit.checkpoint import save_checkpoint
from toolkit.cli import run
from toolkit.config import load_config
from toolkit.errors import UserError
from toolkit.ops import load_mmseg
from toolkit.segmentation.datasets import LoadMask, read_mask
from toolkit.segmentation.inferencer import Segmenter
from toolkit.segmentation.tiles import Box, blend_tiles, cuts, ramp, tiles_and_cores
from toolkit.segmentation.whole_pooling import WholePooling

CONFIG = """
custom_imports = dict(imports=["toolkit"])
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3, size_divisor=32, test_cfg=dict(size_divisor=32)
    ),
    backbone=dict({backbone}),
    decode_head=dict(
        {head}, in_channels={channels}, in_index=-1, channels={channels},
        num_classes=3, align_corners=False, loss_decode=dict(type="CrossEntropyLoss"),
    ),
    test_cfg=dict(mode="whole"),
)
test_pipeline = [dict(type="LoadImage"), {resize} dict(type="LoadMask"), dict(type="PackSegInputs")]
test_dataloader = dict(
    dataset=dict(
        type="FolderSegmentation",
        metainfo=dict(classes=("blue", "green", "red"), palette=[(0, 0, 255), (0, 255, 0), (255, 0, 0)]),
        pipeline=test_pipeline,
    )
)
"""
RESNET = (
    "type='ResNet', depth=18, base_channels=8, num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), "
    "out_indices=(2,), norm_cfg=dict(type='BN')"
)
FCN = "type='FCNHead', num_convs=0, concat_input=False"


@MODELS.register_module()
class PixelsThemselves(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]


def write_model(folder: Path, name: str, backbone: str, channels: int, resize: str = "", head: str = FCN) -> Path:
    """A checkpoint with its config; its last layer is the identity, or random."""
    load_mmseg()
    path = folder / f"{name}.py"
    path.write_text(CONFIG.format(backbone=backbone, channels=channels, resize=resize, head=head))
    config = load_config(path)
    torch.manual_seed(0)
    network = MODELS.build(config.copy().model)
    nn.init.normal_(network.decode_head.conv_seg.weight)
    if channels == 3:
        network.decode_head.conv_seg.weight.data = torch.eye(3)[:, :, None, None]
    with torch.no_grad():  # statistics of batch norms that fit the pictures
        network.train().extract_feat(torch.rand(4, 3, 96, 96) * 255)
    save_checkpoint({"state_dict": network.state_dict(), "meta": {"cfg": config.pretty_text}}, folder / f"{name}.pth")
    return folder / f"{name}.pth"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "pixels", "type='PixelsThemselves'", 3)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Segmenter:
    return toolkit.load_model(checkpoint, device="cpu")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Large spots of colour, no two channels equal anywhere."""
    rng = np.random.default_rng(seed)
    spots = cv2.resize(rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.uint8), (width, height))
    return (spots // 3 * 3 + np.arange(3)).clip(0, 255).astype(np.uint8)


def truth(image: np.ndarray) -> np.ndarray:
    return image.argmax(2)


def test_says_the_class_of_each_pixel_of_pictures_of_any_size(model: Segmenter, tmp_path: Path):
    images = [picture(*size, seed) for seed, size in enumerate([(33, 47), (60, 31), (33, 47), (128, 64)])]
    for image, found in zip(images, model.predict(images, batch_size=3), strict=True):
        assert np.array_equal(found.mask, truth(image))
        assert found.areas == {name: int((truth(image) == i).sum()) for i, name in enumerate(("blue", "green", "red"))}
    cv2.imwrite(str(tmp_path / "a.png"), images[1])
    found = model.predict(tmp_path / "a.png")
    assert np.array_equal(found.mask, truth(images[1]))
    assert found.palette == ((0, 0, 255), (0, 255, 0), (255, 0, 0))


def test_what_is_drawn(model: Segmenter):
    image = np.full((120, 160, 3), (10, 20, 90), np.uint8)
    image[:, :60] = (90, 20, 10)
    before = image.copy()
    drawn = model.predict(image).draw(image, opacity=0.25)
    assert np.array_equal(image, before)
    assert drawn[5, 5].tolist() == [round(0.75 * 90 + 0.25 * 255), 15, 8]
    assert drawn[5, 60].tolist() == [0, 0, 255]  # an outline in the colour itself
    with pytest.raises(UserError, match="kept"):
        model.predict(image).draw()
    with pytest.raises(UserError, match="the mask"):
        model.predict(image).draw(image[1:])


def test_masks_hold_numbers_and_colours(model: Segmenter, tmp_path: Path):
    found = model.predict(picture(40, 50))
    found.save_mask(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), found.mask)
    with Image.open(tmp_path / "a.png") as saved:
        assert np.array_equal(np.asarray(saved.convert("RGB")), np.array(found.palette)[found.mask])
    with pytest.raises(UserError, match=r"\.png"):
        found.save_mask(tmp_path / "a.jpg")


@pytest.mark.parametrize("size", [(300, 400), (161, 129), (128, 500), (700, 193)])
@pytest.mark.parametrize(("tile", "overlap"), [(128, 32), (256, 64)])
def test_weights_of_tiles_sum_to_one_and_cuts_are_not_used(size: tuple[int, int], tile: int, overlap: int):
    torch.manual_seed(0)
    image, seen = torch.rand(3, *size), []

    def score(box: Box) -> torch.Tensor:
        """The pixels, but nonsense within a quarter of an overlap of every cut."""
        part = image[:, box.top : box.bottom, box.left : box.right]
        assert max(part.shape) <= tile
        seen.append((box.top, box.left))
        result, edge = torch.full_like(part, 1e3), overlap // 4
        inner = [slice(edge * (start > 0), length - edge * (start + length < whole))
                 for start, length, whole in zip(box[:2], part.shape[1:], size, strict=True)]  # fmt: skip
        result[:, *inner] = part[:, *inner]
        return result

    sums = []
    found = blend_tiles(size, score, lambda s: sums.append(s) or s.argmax(0).byte(), tile, overlap)
    assert np.array_equal(found, image.argmax(0))
    assert max(float(s.max()) for s in sums) <= 1
    assert sum(s[0].numel() for s in sums) == image[0].numel()
    assert all(v % 32 == 0 for place in seen for v in place)


def test_ramps_of_neighbours_complement_each_other():
    one, other = ramp(96, 32, True, False), ramp(80, 32, False, True)
    torch.testing.assert_close(one[-32:] + other[:32], torch.ones(32))
    assert one[-8:].eq(0).all()
    assert one[:64].eq(1).all()
    assert cuts(128, 128, 32) == [(0, 128)]
    *before, last = cuts(1000, 256, 64)
    stride = before[1][0]
    assert before == [(i * stride, (i + 1) * stride + 64) for i in range(len(before))]
    assert last == (len(before) * stride, 1000)
    assert 64 < 1000 - last[0] <= stride + 64 <= 256


@pytest.mark.parametrize("size", [(300, 420), (129, 640)])
def test_cores_of_tiles_are_the_picture_cut_up(size: tuple[int, int]):
    times = torch.zeros(*(-(-side // 32) * 32 for side in size))
    for box, core in tiles_and_cores(size, 128, 32):
        times[core.top : core.bottom, core.left : core.right] += 1
        assert all(inner >= outer for inner, outer in zip(core[:2], box[:2], strict=True))
    assert times.eq(1).all()


@pytest.mark.parametrize("stride", [8, 32])
@pytest.mark.parametrize("kind", ["pyramid", "pyramid, corners", "image"])
@pytest.mark.parametrize("size", [(300, 420), (100, 420), (420, 50)])
def test_what_is_pooled_over_the_whole_reaches_every_tile(kind: str, stride: int, size: tuple[int, int]):
    load_mmseg()
    from mmseg.models.decode_heads.psp_head import PPM

    torch.manual_seed(0)
    picture, coarse = torch.randn(3, *size), nn.Conv2d(3, 6, stride, stride)
    network, head = nn.Module(), nn.Module()
    network.decode_head, network.test_cfg = head, dict(mode="whole")
    if kind == "image":
        head.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1))
    else:
        head.psp_modules = PPM((1, 2, 3, 6), 6, 4, None, None, dict(type="ReLU"), kind == "pyramid, corners")

    def run(box: Box) -> list[torch.Tensor]:
        part = picture[None, :, box.top : box.bottom, box.left : box.right]
        found = next(head.children())(coarse(nn.functional.pad(part, (0, -part.shape[3] % 32, 0, -part.shape[2] % 32))))
        return [found] if kind == "image" else found

    with torch.no_grad():
        whole, tiles, pooling = run(Box(0, 0, *size)), tiles_and_cores(size, 128, 32), WholePooling(network)
        pooling.gather(tiles, run)
        assert len(tiles) == (15 if size == (300, 420) else 5)
        for box, _ in tiles:
            with pooling.given(box):
                found = run(box)
            for one, all_of_it in zip(found, whole, strict=True):
                if kind != "image":
                    rows, columns = (
                        slice(v // stride, v // stride + n) for v, n in zip(box, one.shape[2:], strict=False)
                    )
                    all_of_it = all_of_it[..., rows, columns]
                torch.testing.assert_close(one, all_of_it, atol=1e-5, rtol=1e-5)


def test_pooling_within_windows_of_the_network_stays_there():
    load_mmseg()
    from mmseg.models.decode_heads.psp_head import PPM

    network = nn.Module()
    network.decode_head = nn.Sequential(PPM((1, 2), 3, 3, None, None, dict(type="ReLU"), False))
    for mode, pools in (("whole", 1), ("slide", 0)):
        network.test_cfg = dict(mode=mode)
        assert len(WholePooling(network).pools) == pools


def test_cells_that_lie_across_tiles_are_not_gathered():
    load_mmseg()
    from mmseg.models.decode_heads.psp_head import PPM

    network = nn.Module()
    network.decode_head = nn.Sequential(PPM((1, 2), 3, 3, None, None, dict(type="ReLU"), False))
    network.test_cfg = dict(mode="whole")
    pooling = WholePooling(network)
    picture = torch.randn(1, 3, 300, 420)
    with torch.no_grad():
        pooling.gather(
            tiles_and_cores((300, 420), 128, 32),
            lambda box: network.decode_head(picture[..., box.top : box.bottom : 64, box.left : box.right : 64]),
        )
    assert pooling.pools == []


@pytest.mark.parametrize(
    ("head", "share"), [(FCN, 0.2), ("type='PSPHead'", 0.1), ("type='ASPPHead', dilations=(1, 2)", 0.2)]
)
def test_tiles_say_what_the_whole_says_and_bound_what_the_network_gets(head: str, share: float, tmp_path: Path):
    model = toolkit.load_model(write_model(tmp_path, "resnet", RESNET, 32, head=head), device="cpu")
    given, step = [], model.network.test_step
    model.network.test_step = lambda data: given.append(sum(x[0].numel() for x in data["inputs"])) or step(data)
    image = picture(700, 900)
    whole, tiled = model.predict(image), model.predict(image, tile=512)
    assert len(given) > 4
    assert max(given[1:]) <= 512**2
    assert sorted(whole.areas.values())[1] > share * whole.mask.size  # there is something to get wrong
    assert (whole.mask != tiled.mask).mean() < 0.01
    given.clear()
    model.predict([image[:200, :200]] * 8, tile=256)
    assert given == [200 * 200] * 8


def test_a_pipeline_that_resizes_gives_masks_of_the_pictures_size(tmp_path: Path):
    resize = "dict(type='Resize', scale=(320, 240), keep_ratio=True),"
    model = toolkit.load_model(write_model(tmp_path, "resized", "type='PixelsThemselves'", 3, resize), device="cpu")
    image = picture(480, 640)
    for tile in (2048, 128):
        found = model.predict(image, tile=tile)
        assert found.mask.shape == (480, 640)
        assert (found.mask != truth(image)).mean() < 0.06  # outlines of a picture of half the size
    with pytest.raises(UserError, match="multiple of 32"):
        model.predict(image, tile=1000)


def test_the_command_writes_masks_that_can_be_trained_on(checkpoint: Path, tmp_path: Path, capsys):
    images = {"a/1": picture(40, 60), "b/1": picture(30, 44, 1), "2": picture(64, 32, 2)}
    for name, image in images.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.bmp"), image)
    shutil.copy(tmp_path / "photos" / "2.bmp", tmp_path / "photos" / "2.jpg.bmp")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    assert (
        run("infer", [str(checkpoint), str(tmp_path / "photos"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 1
    )
    assert "broken.jpg is not a picture" in capsys.readouterr().err
    areas = json.loads((tmp_path / "out" / "areas.json").read_text())
    assert areas["classes"] == ["blue", "green", "red"]
    by_name = {entry["file_name"]: entry for entry in areas["images"]}
    assert sorted(by_name) == ["2.bmp", "2.jpg.bmp", "a/1.bmp", "b/1.bmp"]
    for name, image in images.items():
        entry, labels = by_name[f"{name}.bmp"], truth(image)
        assert np.array_equal(read_mask(tmp_path / "out" / entry["mask"]), labels)
        assert entry["pixels"]["red"] == (labels == 2).sum()
        assert sum(entry["share"].values()) == pytest.approx(1, abs=1e-5)
        assert cv2.imread(str(tmp_path / "out" / "overlays" / f"{name}.bmp.png")).shape == image.shape
    (tmp_path / "photos" / "broken.jpg").unlink()
    data = DATASETS.build(
        dict(
            type="FolderSegmentation",
            data_prefix=dict(img_path=str(tmp_path / "photos"), seg_map_path=str(tmp_path / "out" / "masks")),
            metainfo=dict(classes=areas["classes"]),
        )
    )
    assert len(data) == 4
    assert np.array_equal(LoadMask()(data.get_data_info(0))["gt_seg_map"], truth(images["2"]))


def test_every_frame_of_a_video_is_drawn_and_counted(checkpoint: Path, tmp_path: Path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for shade in range(50, 250, 50):
        writer.write(np.full((64, 96, 3), (shade, 0, 0), np.uint8))
    writer.release()
    args = [str(checkpoint), str(tmp_path / "clip.avi"), "-o", str(tmp_path / "out"), "--batch-size", "3"]
    assert run("infer", [*args, "--device", "cpu"]) == 0
    images = json.loads((tmp_path / "out" / "areas.json").read_text())["images"]
    assert [(image["frame"], image["time"]) for image in images] == [(0, 0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert all(image["pixels"] == {"blue": 64 * 96} for image in images)
    drawn = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert drawn.get(cv2.CAP_PROP_FPS) == 10
    assert not (tmp_path / "out" / "masks").exists()


def test_wrong_use_of_the_command_leaves_nothing(checkpoint: Path, tmp_path: Path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), picture(40, 40))
    args = [str(checkpoint), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert run("infer", [*args, "--tile", "100"]) == 2
    assert run("infer", [*args, "--classes", "red"]) == 2
    text = capsys.readouterr().err
    assert "tile must be a multiple of 32" in text
    assert "--classes is for detectors" in text
    assert not (tmp_path / "out").exists()
    assert run("infer", [*args, "--no-draw"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["areas.json", "masks"]
    before = (tmp_path / "out" / "masks" / "a.png").read_bytes()
    args[1] = str(tmp_path / "out" / "masks" / "a.png")
    (tmp_path / "out" / "a").mkdir()
    assert run("infer", [*args, "--force"]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert (tmp_path / "out" / "masks" / "a.png").read_bytes() == before
