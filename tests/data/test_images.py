"""Every kind of picture file must give the pixels that a viewer shows."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from toolkit.data.images import image_size, pictures_below, read_image
from toolkit.errors import UserError


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """A smooth (40, 60, 3) picture whose four corners differ, kind to JPEG."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], axis=-1).astype(np.uint8)


def assert_close(got: np.ndarray, rgb: np.ndarray, tolerance: int) -> None:
    assert got.dtype == np.uint8
    assert got.shape == rgb.shape
    assert np.abs(got[..., ::-1].astype(int) - rgb.astype(int)).max() <= tolerance


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "jpg"])
def test_reads_every_format(tmp_path, rgb, ending):
    path = tmp_path / f"Bild ä.{ending}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}.get(ending, {})
    Image.fromarray(rgb).save(path, **options)
    assert_close(read_image(path), rgb, 6 if ending == "jpg" else 0)
    assert image_size(path) == (60, 40)


def test_grey_becomes_three_equal_channels(tmp_path, rgb):
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.jpg", quality=98)
    expected = np.repeat(rgb[..., :1], 3, axis=2)
    assert_close(read_image(tmp_path / "grey.png"), expected, 0)
    assert_close(read_image(tmp_path / "grey.jpg"), expected, 4)


def test_black_and_white_and_palette(tmp_path, rgb):
    bits = rgb[..., 0] > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert_close(read_image(tmp_path / "bits.png"), np.repeat(bits[..., None] * np.uint8(255), 3, axis=2), 0)
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert_close(read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")), 0)


def test_transparent_is_laid_on_white(tmp_path, rgb):
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 20:40] = 128
    alpha[:, 40:] = 255
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "rgba.png")
    weight = alpha[..., None] / 255
    assert_close(read_image(tmp_path / "rgba.png"), (rgb * weight + 255 * (1 - weight)).round().astype(np.uint8), 1)


def test_transparent_palette_colour_is_white(tmp_path):
    indices = np.zeros((8, 8), np.uint8)
    indices[:, 4:] = 1
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([200, 0, 0, 0, 0, 200])
    picture.save(tmp_path / "palette.png", transparency=0)
    got = read_image(tmp_path / "palette.png")
    assert (got[:, :4] == 255).all()
    assert (got[:, 4:] == (200, 0, 0)).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_keep_the_full_range(tmp_path, rgb, ending):
    wide = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"grey16.{ending}"), wide)
    got = read_image(tmp_path / f"grey16.{ending}")
    assert_close(got, np.repeat((wide >> 8)[..., None], 3, axis=2).astype(np.uint8), 0)
    assert got.min() == 0
    assert got.max() == 255
    color = rgb.astype(np.uint16) << 8 | 77
    cv2.imwrite(str(tmp_path / f"color16.{ending}"), color[..., ::-1])
    assert_close(read_image(tmp_path / f"color16.{ending}"), rgb, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path, rgb, orientation, ending):
    upright = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, -1),
        7: np.rot90(rgb.transpose(1, 0, 2), 2),
        8: np.rot90(rgb),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{ending}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}.get(ending, {})
    Image.fromarray(rgb).save(path, exif=exif, **options)
    assert_close(read_image(path), upright, 6 if ending == "jpg" else 0)
    assert image_size(path) == upright.shape[1::-1]


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_gives_its_colours(tmp_path, rgb, ending):
    path = tmp_path / f"cmyk.{ending}"
    Image.fromarray(rgb).convert("CMYK").save(path, **({"quality": 98} if ending == "jpg" else {}))
    assert_close(read_image(path), rgb, 12)


def test_jpeg_with_bytes_after_its_end_is_whole(tmp_path, rgb):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=98, subsampling=0)
    (tmp_path / "a.jpg").write_bytes(file.getvalue() + b"appended by a camera")
    assert_close(read_image(tmp_path / "a.jpg"), rgb, 6)


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_cut_off_file_is_an_error_that_names_it(tmp_path, ending, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole, cut = tmp_path / f"whole.{ending}", tmp_path / f"cut.{ending}"
    Image.fromarray(noise).save(whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"cut\.{ending}"):
        read_image(cut)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"hello, this is text", "not a picture"), (b"\xff\xd8\xff\xe0 junk \xff\xd9", "not|damaged")],
)
def test_no_picture_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.jpg.*({message})"):
        read_image(path)
    with pytest.raises(UserError, match=r"x\.jpg"):
        image_size(path)


def test_missing_file_folder_and_float_pixels(tmp_path):
    with pytest.raises(UserError, match=r"no picture .*gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif.*8 or 16 bits"):
        read_image(tmp_path / "float.tif")


def test_load_image_transform_is_known_to_mmdet_and_reads_alike(tmp_path, rgb):
    from mmengine.registry import TRANSFORMS

    import toolkit  # noqa: F401

    Image.fromarray(rgb).save(tmp_path / "a.png")
    results = TRANSFORMS.build({"type": "LoadImage"})({"img_path": str(tmp_path / "a.png")})
    assert np.array_equal(results["img"], read_image(tmp_path / "a.png"))
    assert results["img_shape"] == results["ori_shape"] == (40, 60)


def test_pictures_of_folders_are_found_and_broken_links_not_passed_over(tmp_path, rgb):
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(rgb).save(tmp_path / "folder.png" / "a.PNG")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "notes.txt").touch()
    assert pictures_below(tmp_path) == [tmp_path / "b.jpg", tmp_path / "folder.png" / "a.PNG"]
    with pytest.raises(UserError, match=r"b\.jpg"):
        read_image(tmp_path / "b.jpg")
