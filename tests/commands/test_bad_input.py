"""Input that cannot be used: one line on stderr that says why, exit code 2, and nothing lost or half-written."""

import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from toolkit.checkpoint import load_checkpoint
from toolkit.cli import run

ROOT = Path(__file__).resolve().parents[2]
ONE_EPOCH = ("train_cfg.max_epochs=1", "train_cfg.val_interval=1")


@pytest.fixture(scope="module")
def trained(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one epoch."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert run("train", [str(tiny_config), "--work-dir", str(work_dir), "--cfg-options", *ONE_EPOCH]) == 0
    return work_dir / "epoch_1.pth"


@pytest.fixture
def refused(capfd: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail as it should, and give its line."""

    def run_refused(command: str, *argv: object) -> str:
        where = {"train": ["--work-dir", tmp_path / "work"], "test": ["--work-dir", tmp_path / "work"]}
        where["infer"] = ["-o", tmp_path / "out"]
        given = [] if {"--work-dir", "-o"} & set(argv) else where[command]
        capfd.readouterr()
        code = run(command, [str(item) for item in (*argv[:1], *given, *argv[1:])])
        text = capfd.readouterr().err
        assert code == 2, text
        assert text.startswith("error: "), text
        assert text.count("\n") == 1, text
        assert not list(tmp_path.glob("work/*.pth")), "a run that did not begin left a checkpoint"
        return text

    return run_refused


@pytest.fixture
def edited(tiny_config: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """The tiny config with a piece of its text replaced."""

    def edit(old: str, new: str) -> Path:
        text = tiny_config.read_text()
        assert old in text
        path = tmp_path / "edited.py"
        path.write_text(text.replace(old, new))
        return path

    return edit


@pytest.fixture
def own_set(tiny_set: Path, tiny_config: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(a copy of the data set to damage, a config for it)."""
    root = shutil.copytree(tiny_set, tmp_path / "set")
    config = tmp_path / "own.py"
    config.write_text(tiny_config.read_text().replace(str(tiny_set), str(root)))
    return root, config


@contextmanager
def disk_full(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk (pytest's own log must be written outside of it)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Code:
    """Runs a command when it is unpickled: makes the file `path`."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


# ------------------------------------------------------------------------------------------------------------ configs


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model = dict(", "model = dict(\n    x = = 3,", r"edited.py:6: invalid syntax"),
        ('type="FPN"', 'type="FPNN"', "model.neck.type: 'FPNN' is not registered; did you mean 'FPN'"),
        ('"RandomFlip"', '"RandomFlp"', "train_dataloader.dataset.pipeline.3.type: 'RandomFlp' is not registered"),
        ('type="AdamW"', 'type="AdmW"', "optim_wrapper.optimizer.type: 'AdmW' is not registered; did you mean 'Adam"),
        ('"LinearLR"', '"LinearRL"', "param_scheduler.0.type: 'LinearRL' is not registered; did you mean 'LinearLR'"),
        ('type="CocoMetric"', 'type="CocMetric"', "val_evaluator.type: 'CocMetric' is not registered"),
        ('type="FPN"', 'type="FPN", init_cfg=dict(type="Xavir")', "model.neck.init_cfg.type: 'Xavir' is not"),
        ("depth=18", "depth=18, dept=18", "model.backbone.dept: ResNet takes no 'dept'; did you mean 'depth'"),
        ("prob=0.5", "probb=0.5", "pipeline.3.probb: RandomFlip takes no 'probb'; did you mean 'prob'"),
        ("num_workers", "num_worker", "train_dataloader.num_worker: DataLoader takes no 'num_worker'; did you mean"),
        ("momentum=0.01", "momentm=0.01", "custom_hooks.0.momentm: ExpMomentumEMA takes no 'momentm'; did you mean"),
        ("max_epochs=3", "max_epoch=3", "train_cfg.max_epoch: EpochBasedTrainLoop takes no 'max_epoch'; did you"),
        ("optim_wrapper =", "optim_wraper =", "optim_wraper is read by nothing; did you mean 'optim_wrapper'?"),
        ("custom_hooks =", "default_hoks =", "default_hoks is read by nothing; did you mean 'default_hooks'?"),
        ("depth=18, ", "", "model.backbone: ResNet needs 'depth'"),
        ('type="FPN", ', "", "model.neck: has no 'type'"),
        ("val_cfg =", "_val_cfg =", "has no 'val_cfg', which a train run needs"),
        ("num_classes=2", "num_classes=3", "model.bbox_head.num_classes is 3, but the training set has 2"),
        ('("dark", "light")', '("dark", "lihgt")', "train.json: has no class 'lihgt'"),
        ("lr=0.001", "lr='high'", "optim_wrapper.optimizer: AdamW: "),
        ("out_channels=16", "out_channels=32", "model.bbox_head.cls_convs.0.conv: .* expected input"),
    ],
)
def test_configs(refused: Callable, edited: Callable, old: str, new: str, message: str):
    assert re.search(message, refused("train", edited(old, new)))


def test_config_names_and_checkpoints_in_configs(refused: Callable, edited: Callable, tmp_path: Path):
    assert "config yolo_ms_xs_80e_bcd does not exist" in refused("train", "yolo_ms_xs_80e_bcd")
    text = refused("train", edited("norm_eval=True", "init_cfg=dict(type='Pretrained', checkpoint='none.pth')"))
    assert "checkpoint none.pth does not exist" in text


def test_a_key_that_nothing_reads_is_told(edited: Callable, tmp_path: Path, capfd: pytest.CaptureFixture):
    config = edited("classes =", "spare = 1\nclasses =")
    options = [str(config), "--work-dir", str(tmp_path / "work"), "--cfg-options"]
    assert run("train", [*options, *ONE_EPOCH, "train_dataloader.dataset.indices=2"]) == 0
    assert capfd.readouterr().err == f"warning: {config}: nothing reads spare\n"


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cfg-options", "model"], "--cfg-options model: give KEY=VALUE"),
        (["--cfg-options", "model.neck=dict(type=FPN)"], "--cfg-options model.neck=.*need quotes"),
        (
            ["--cfg-options", "train_dataloader.batch_size=0"],
            "train_dataloader: DataLoader: batch_size should be a posi",
        ),
        (["--device", "cuda"], "--device cuda: this machine shows no such GPU"),
        (["--seed", "-1"], "--seed -1: give a number"),
        (["--launcher", "pytorch"], "--launcher pytorch: start it as torchrun"),
        (["--resume", "none.pth"], "checkpoint none.pth does not exist"),
        (["--load-from", "none.pth"], "checkpoint none.pth does not exist"),
        (["--work-dir", "{file}"], "--work-dir .*: cannot write there: File exists"),
        (["--work-dir", "{file}/below"], "--work-dir .*: cannot write there: Not a directory"),
        (["--work-dir", "/proc/none"], "--work-dir /proc/none: cannot write there"),
        (["--data-root", "nowhere"], "nowhere/train.json: the annotation file does not exist"),
    ],
)
def test_options_of_train(
    refused: Callable, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list, message: str
):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "file").write_text("")
    text = refused("train", tiny_config, *(item.format(file=tmp_path / "file") for item in options))
    assert re.search(message, text), text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "--batch-size 0: give at least 1"),
        (["--score-thr", "2"], "--score-thr 2.0: give a number from 0 to 1"),
        (["--device", "gpu"], "device 'gpu' is not on this machine"),
        (["--classes", "cat"], "--classes: the model has no class 'cat'; it has dark, light"),
        (["-o", "{file}/below"], "cannot write results to .*: Not a directory"),
    ],
)
def test_options_of_infer(
    refused: Callable, trained: Path, tiny_set: Path, tmp_path: Path, options: list[str], message: str
):
    (tmp_path / "file").write_text("")
    given = (item.format(file=tmp_path / "file") for item in options)
    assert re.search(message, refused("infer", trained, tiny_set / "val", *given))


# -------------------------------------------------------------------------------------------------------- checkpoints


def everywhere(refused: Callable, config: Path, checkpoint: Path, picture: Path) -> Iterator[str]:
    """The lines of every command that reads a checkpoint."""
    yield refused("test", config, checkpoint)
    yield refused("infer", config, checkpoint, picture)
    yield refused("infer", checkpoint, picture)
    yield refused("train", config, "--resume", checkpoint)
    yield refused("train", config, "--load-from", checkpoint)


@pytest.fixture
def picture(tiny_set: Path) -> Path:
    return tiny_set / "val" / "00.png"


def test_truncated_checkpoints(refused: Callable, trained: Path, tiny_config: Path, picture: Path, tmp_path: Path):
    whole, cut = trained.read_bytes(), tmp_path / "cut.pth"
    for size in (1, 1000, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        assert "cut short" in refused("infer", cut, picture)
    assert all("cut short" in text for text in everywhere(refused, tiny_config, cut, picture))
    cut.write_bytes(b"")
    assert "cut.pth is empty" in refused("infer", cut, picture)


def test_a_text_file_as_checkpoint(refused: Callable, tiny_config: Path, picture: Path, tmp_path: Path):
    (tmp_path / "text.pth").write_text("no weights\n")
    for text in everywhere(refused, tiny_config, tmp_path / "text.pth", picture):
        assert "text.pth is not a checkpoint" in text


def test_checkpoints_with_code(refused: Callable, trained: Path, tiny_config: Path, picture: Path, tmp_path: Path):
    mark, path = tmp_path / "ran", tmp_path / "code.pth"
    torch.save({**load_checkpoint(trained), "extra": Code(mark)}, path)
    for text in everywhere(refused, tiny_config, path, picture):
        assert re.search(r"holds Python code or objects \((posix|nt)\.system\) and was refused", text)
    path.write_bytes(pickle.dumps({"state_dict": Code(mark)}))  # not even torch's format
    list(everywhere(refused, tiny_config, path, picture))
    assert not mark.exists()


def test_code_in_the_run_to_resume(trained: Path, tiny_config: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    mark, path = tmp_path / "ran", tmp_path / "epoch_1.pth"
    (tmp_path / "last_checkpoint").write_text(str(path))
    resume = [str(tiny_config), "--work-dir", str(tmp_path), "--resume"]
    torch.save({**load_checkpoint(trained), "extra": Code(mark)}, path)
    assert run("train", resume) == 2
    assert "was refused" in capfd.readouterr().err
    checkpoint = load_checkpoint(trained)  # mmengine would run this text
    checkpoint["meta"]["config"] = f"import os\nos.system('touch {mark}')\n"
    torch.save(checkpoint, path)
    assert run("train", [*resume, "--cfg-options", *ONE_EPOCH]) == 0
    assert not mark.exists()


def test_checkpoints_of_other_models(
    refused: Callable, trained: Path, edited: Callable, tiny_config: Path, picture: Path, tmp_path: Path
):
    deeper = edited("depth=18", "depth=34")
    for arguments in (["test", deeper, trained], ["infer", deeper, trained, picture], ["train", deeper, "--resume"]):
        text = refused(*arguments, *([trained] if arguments[-1] == "--resume" else []))
        assert "is a checkpoint of another model than the config's" in text
    text = refused("test", edited("num_classes=2", "num_classes=3"), trained)
    assert "the checkpoint has 2 classes (dark, light), the config 3" in text
    text = refused("train", edited('type="AdamW"', 'type="SGD", momentum=0.9'), "--resume", trained)
    assert "training state is not of this config (SGD needs" in text
    torch.save(load_checkpoint(trained)["state_dict"], tmp_path / "weights.pth")
    assert "no training state to resume" in refused("train", tiny_config, "--resume", tmp_path / "weights.pth")


def test_class_lists_that_differ(refused: Callable, trained: Path, tiny_config: Path, picture: Path, tmp_path: Path):
    checkpoint = load_checkpoint(trained)
    checkpoint["meta"]["dataset_meta"] = dict(classes=("light", "dark"))
    torch.save(checkpoint, tmp_path / "swapped.pth")
    text = refused("test", tiny_config, tmp_path / "swapped.pth")
    assert "was trained for the classes light, dark, the test set has dark, light" in text
    checkpoint["meta"]["dataset_meta"] = dict(classes=("a", "b", "c"))
    torch.save(checkpoint, tmp_path / "three.pth")
    assert "lists 3 classes (a, b, c ...), the model has 2" in refused("infer", tmp_path / "three.pth", picture)


# ----------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_that_is_none_in_a_set(refused: Callable, own_set: tuple, tmp_path: Path, split: str, workers: int):
    root, config = own_set
    (root / split / "01.png").write_bytes(b"no picture")
    loaders = [f"{name}_dataloader.num_workers={workers}" for name in ("train", "val")]
    text = refused("train", config, "--check", "--cfg-options", *loaders, "train_dataloader.batch_size=8")
    assert text.startswith(f"error: {root}/{split}/01.png is not a picture")


def test_pictures_that_are_none_in_infer(refused: Callable, trained: Path, tmp_path: Path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert "text.jpg is not a picture" in refused("infer", trained, tmp_path / "text.jpg")
    assert "zero.jpg is an empty file" in refused("infer", trained, tmp_path / "zero.jpg")
    assert "empty holds no pictures" in refused("infer", trained, tmp_path / "empty")
    text = refused("infer", trained, tmp_path / "text.jpg", tmp_path / "zero.jpg")
    assert "none of 2 inputs can be read" in text
    assert not (tmp_path / "out").exists()


def test_broken_pictures_among_good_ones(trained: Path, tiny_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    folder = shutil.copytree(tiny_set / "val", tmp_path / "photos")
    (folder / "01.png").write_bytes((folder / "01.png").read_bytes()[:2000])
    (folder / "text.jpg").write_text("no picture")
    assert run("infer", [str(trained), str(folder), "-o", str(tmp_path / "out")]) == 1
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 3
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "2 could not be read:"
    assert "01.png is a damaged" in lines[1]
    assert "text.jpg is not a picture" in lines[2]


def save_kinds(folder: Path) -> None:
    """Make the pictures of `folder` 16-bit, grey, RGBA, EXIF-rotated, CMYK and of a palette, in turn."""
    for index, path in enumerate(sorted(folder.iterdir())):
        picture = Image.open(path).convert("RGB")
        if index % 6 == 0:
            Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(path)
        elif index % 6 == 3:
            turned = Image.Exif()
            turned[274] = 6
            picture.save(path, "JPEG", exif=turned)
        else:
            mode = {1: "L", 2: "RGBA", 4: "CMYK", 5: "P"}[index % 6]
            picture.convert(mode).save(path, "JPEG" if mode == "CMYK" else "PNG")


def test_pictures_of_every_kind(own_set: tuple, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    root, config = own_set
    save_kinds(root / "train")
    save_kinds(root / "val")
    assert run("train", [str(config), "--work-dir", str(tmp_path / "work"), "--cfg-options", *ONE_EPOCH]) == 0
    assert run("infer", [str(trained), str(root / "train"), "-o", str(tmp_path / "out")]) == 0
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 8
    assert capfd.readouterr().err == ""


# -------------------------------------------------------------------------------------------------------- annotations


def change(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def shrink(annotations: list[dict]) -> None:
    for annotation in annotations:
        annotation["bbox"][2:] = [0, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train.json").unlink(), "train.json: the annotation file does not exist"),
        (lambda root: (root / "val.json").unlink(), "val.json: the annotation file does not exist"),
        (lambda root: (root / "train.json").write_text('{"images": ['), "train.json is not JSON"),
        (lambda root: (root / "train.json").write_text("[]"), "train.json: not a COCO detection file"),
        (lambda root: (root / "train" / "03.png").unlink(), "1 of its 8 pictures are missing: .*03.png"),
        (lambda root: (root / "val" / "03.png").unlink(), "1 of its 4 pictures are missing: .*03.png"),
        (lambda root: change(root / "train.json", lambda c: shrink(c["annotations"])), "24 smaller than a pixel"),
        (lambda root: change(root / "train.json", lambda c: c["annotations"].clear()), "8 pictures and 0 boxes"),
        (lambda root: change(root / "val.json", lambda c: c["categories"].pop()), "val.json: has no class 'light'"),
    ],
)
def test_data_sets(refused: Callable, own_set: tuple, damage: Callable, message: str):
    root, config = own_set
    damage(root)
    assert re.search(message, refused("train", config, "--check"))


def test_boxes_of_no_size_are_left_out(own_set: tuple, tmp_path: Path):
    root, config = own_set
    change(root / "train.json", lambda content: shrink(content["annotations"][::2]))
    assert run("train", [str(config), "--check"]) == 0


# ---------------------------------------------------------------------------------------------- nothing lost or halved


def test_a_full_disk_leaves_the_old_checkpoint(
    trained: Path, tiny_config: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    before = shutil.copy(trained, work_dir / "epoch_1.pth").read_bytes()
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_1.pth"))
    with disk_full(len(before) // 2):
        code = run("train", [str(tiny_config), "--work-dir", str(work_dir), "--resume"])
    text = capfd.readouterr().err
    assert code == 2
    assert text == f"error: cannot write {work_dir}/epoch_2.pth: File too large\n"
    assert [path.name for path in work_dir.iterdir() if "pth" in path.name] == ["epoch_1.pth"]
    assert (work_dir / "epoch_1.pth").read_bytes() == before
    assert (work_dir / "last_checkpoint").read_text() == str(work_dir / "epoch_1.pth")


def test_a_full_disk_leaves_no_half_results(
    refused: Callable,
    trained: Path,
    tiny_set: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(10):
        writer.write(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    writer.release()
    with disk_full(5000):
        assert "File too large" in refused("infer", trained, tiny_set / "val")
        assert run("infer", [str(trained), str(tmp_path / "clip.avi"), "-o", str(tmp_path / "out")]) == 2
    assert "error: cannot write the video" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_force_keeps_the_old_run_until_the_new_one_begins(
    trained: Path, edited: Callable, tmp_path: Path, capfd: pytest.CaptureFixture
):
    work_dir = shutil.copytree(trained.parent, tmp_path / "work")
    before = {path.name for path in work_dir.iterdir()}
    for old, new in (('type="FPN"', 'type="FPNN"'), ('type="LinearLR"', 'type="LinearRL"')):
        assert run("train", [str(edited(old, new)), "--work-dir", str(work_dir), "--force"]) == 2
        assert before <= {path.name for path in work_dir.iterdir()}
    options = ["--cfg-options", "train_cfg.max_epochs=0", "custom_hooks=[]"]
    assert run("train", [str(edited("depth", "depth")), "--work-dir", str(work_dir), "--force", *options]) == 0
    assert not list(work_dir.glob("*.pth"))


# -------------------------------------------------------------------------------------------------------- as processes


@pytest.mark.parametrize("command", ["train", "infer"])
def test_the_tools_print_nothing_else(command: str, own_set: tuple, trained: Path, tmp_path: Path):
    root, config = own_set
    (root / "val" / "00.png").write_bytes(b"no picture")
    arguments = {
        "train": [config, "--work-dir", tmp_path / "work", "--cfg-options", *ONE_EPOCH, "val_dataloader.num_workers=1"],
        "infer": [trained, root / "val" / "00.png", "-o", tmp_path / "out"],
    }[command]
    tool = [sys.executable, str(ROOT / "tools" / f"{command}.py"), *map(str, arguments)]
    done = subprocess.run(tool, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {root}/val/00.png is not a picture; readable are JPEG, PNG, BMP, TIFF and WebP\n"
