"""The same objects written in four formats become the same COCO file, and every kind of mistake is found."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolkit.cli import run

BOXES = {"a": [("cat", [10, 5, 20, 30]), ("dog", [0, 0, 64, 48])], "b": [("dog", [32, 16, 8, 8])]}
SIZES = {"a": (64, 48), "b": (80, 60)}
CLASSES = ("cat", "dog")


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in SIZES.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((height, width, 3), 90, np.uint8))


def voc_xml(name: str, objects: list, size: tuple[int, int]) -> str:
    rows = [
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for label, (x, y, w, h) in objects
    ]
    width, height = size
    return (
        f"<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
        + "".join(rows)
        + "</annotation>"
    )


def write_voc(root: Path) -> Path:
    write_pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name, objects in BOXES.items():
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml(f"{name}.png", objects, SIZES[name]))
    return root


def write_yolo(root: Path) -> Path:
    write_pictures(root / "images")
    (root / "labels").mkdir()
    (root / "data.yaml").write_text("names:\n  0: cat\n  1: dog\n")
    for name, objects in BOXES.items():
        width, height = SIZES[name]
        lines = [
            f"{CLASSES.index(label)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
            f"{w / width:.6f} {h / height:.6f}"
            for label, (x, y, w, h) in objects
        ]
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_labelme(root: Path) -> Path:
    write_pictures(root)
    for name, objects in BOXES.items():
        shapes = [
            {"label": label, "shape_type": "rectangle", "points": [[x + w, y], [x, y + h]], "group_id": None}
            for label, (x, y, w, h) in objects
        ]
        width, height = SIZES[name]
        content = {"shapes": shapes, "imagePath": f"{name}.png", "imageWidth": width, "imageHeight": height}
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def coco_content() -> dict:
    images = [
        {"id": i, "file_name": f"{name}.png", "width": SIZES[name][0], "height": SIZES[name][1]}
        for i, name in enumerate(SIZES, 1)
    ]
    flat = [(image["id"], one) for image in images for one in BOXES[image["file_name"][0]]]
    annotations = [
        {"id": i, "image_id": image, "category_id": CLASSES.index(label) + 1, "bbox": box, "area": box[2] * box[3]}
        for i, (image, (label, box)) in enumerate(flat, 1)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, content: dict | None = None) -> Path:
    write_pictures(root / "set")
    (root / "set.json").write_text(json.dumps(content or coco_content()))
    return root / "set.json"


WRITERS = {"voc": write_voc, "yolo": write_yolo, "labelme": write_labelme, "coco": write_coco}


def objects_of(file: Path) -> dict:
    """File name -> [(class, box)] of a COCO file."""
    content = json.loads(file.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    return {
        image["file_name"].split(".")[0]: [
            (names[a["category_id"]], a["bbox"]) for a in content["annotations"] if a["image_id"] == image["id"]
        ]
        for image in content["images"]
    }


@pytest.fixture
def source(tmp_path):
    """A folder for the set, apart from the output."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_objects(tmp_path, source, kind):
    out = tmp_path / "out.json"
    assert run("convert", [kind, str(WRITERS[kind](source)), str(out)]) == 0
    assert objects_of(out) == BOXES
    content = json.loads(out.read_text())
    assert [(i["width"], i["height"]) for i in content["images"]] == list(SIZES.values())
    assert all(a["area"] == a["bbox"][2] * a["bbox"][3] for a in content["annotations"])
    assert not (tmp_path / "out.problems.txt").exists()
    again = tmp_path / "again.json"
    images = {"voc": "JPEGImages", "yolo": "images", "labelme": ".", "coco": "set"}[kind]
    assert run("convert", ["coco", str(out), str(again), "--images", str(source / images)]) == 0
    assert json.loads(again.read_text()) == content, "a sound COCO file comes through unchanged"


@pytest.mark.parametrize("kind", ["yolo", "labelme"])
def test_polygons_become_masks_and_boxes(tmp_path, source, kind):
    root = WRITERS[kind](source)
    points = [[8, 12], [40, 12], [40, 36]]
    if kind == "yolo":
        (root / "labels" / "a.txt").write_text("0 " + " ".join(f"{x / 64} {y / 48}" for x, y in points))
    else:
        two = [
            {"label": "cat", "shape_type": "polygon", "points": part, "group_id": 3}
            for part in (points, [[1, 1], [3, 1], [3, 3]])
        ]
        (root / "a.json").write_text(json.dumps({"shapes": two, "imagePath": "a.png"}))
    assert run("convert", [kind, str(root), str(tmp_path / "out.json")]) == 0
    one = json.loads((tmp_path / "out.json").read_text())["annotations"][0]
    assert one["segmentation"][0] == [8, 12, 40, 12, 40, 36]
    if kind == "yolo":
        assert (one["bbox"], one["area"]) == ([8, 12, 32, 24], 384)
    else:
        assert (one["bbox"], one["area"], len(one["segmentation"])) == ([1, 1, 39, 35], 386, 2)


def test_zero_based_voc_and_difficult_objects(tmp_path, source):
    write_voc(source)
    xml = source / "Annotations" / "b.xml"
    xml.write_text(xml.read_text().replace("<difficult>0", "<difficult>1"))
    out = tmp_path / "o.json"
    assert run("convert", ["voc", str(source), str(out), "--zero-based"]) == 0
    assert objects_of(out) == {
        name: [(c, [x + 1, y + 1, w - 1, h - 1]) for c, (x, y, w, h) in objects] for name, objects in BOXES.items()
    }
    flags = [a["iscrowd"] for a in json.loads(out.read_text())["annotations"]]
    assert flags == [0, 0, 1]


def test_classes_select_and_order(tmp_path, source):
    write_voc(source)
    out = tmp_path / "out.json"
    assert run("convert", ["voc", str(source), str(out), "--classes", "dog,cat"]) == 0
    assert [c["name"] for c in json.loads(out.read_text())["categories"]] == ["dog", "cat"]
    assert objects_of(out) == BOXES
    (tmp_path / "names.txt").write_text("dog\n\ncat\n")
    assert (
        run("convert", ["voc", str(source), str(tmp_path / "b.json"), "--class-file", str(tmp_path / "names.txt")]) == 0
    )
    assert (tmp_path / "b.json").read_text() == out.read_text()


def test_list_takes_a_part(tmp_path, source):
    (tmp_path / "val.txt").write_text("b  1\n")
    out = tmp_path / "out.json"
    assert run("convert", ["voc", str(write_voc(source)), str(out), "--list", str(tmp_path / "val.txt")]) == 0
    assert objects_of(out) == {"b": BOXES["b"]}


def breakages() -> dict:
    """Kind of problem -> what makes it in the COCO set, and the objects that --fix leaves."""

    def box(value):
        return lambda content, folder: content["annotations"][0].update(bbox=value)

    def orphan(content, folder):
        content["annotations"][0].update(image_id=9)

    def cut_off(content, folder):
        data = (folder / "a.png").read_bytes()
        (folder / "a.png").write_bytes(data[: len(data) // 2])

    without_first = {"a": BOXES["a"][1:], "b": BOXES["b"]}
    without_picture = {"b": BOXES["b"]}
    return {
        "box that reaches outside the picture": (
            box([50, 40, 30, 30]),
            {"a": [("cat", [50, 40, 14, 8]), BOXES["a"][1]], "b": BOXES["b"]},
        ),
        "box wholly outside the picture": (box([64, 10, 5, 5]), without_first),
        "box without area": (box([5, 5, 0, -3]), without_first),
        "unknown class": (lambda c, f: c["annotations"][0].update(category_id=9), without_first),
        "annotation that cannot be read": (box([5, 5, float("nan"), 5]), without_first),
        "annotation of an image that is not listed": (
            lambda c, f: c["annotations"][0].update(image_id=9),
            without_first,
        ),
        "duplicate id or file name": (lambda c, f: c["annotations"][1].update(id=1), BOXES),
        "missing picture": (lambda c, f: (f / "a.png").unlink(), without_picture),
        "picture that cannot be read": (cut_off, without_picture),
        "size that differs from the picture's": (lambda c, f: c["images"][0].update(width=640), BOXES),
    }


@pytest.mark.parametrize("problem", breakages())
def test_each_mistake_is_reported_and_mended_only_with_fix(tmp_path, source, capsys, problem):
    damage, left = breakages()[problem]
    content = coco_content()
    write_pictures(source / "set")
    damage(content, source / "set")
    file, out = write_coco_file(source, content), tmp_path / "out.json"
    assert run("convert", ["coco", str(file), str(out)]) == 2
    said = capsys.readouterr()
    assert f"1 x {problem}" in said.out
    assert "--fix" in said.err
    assert not out.exists()
    lines = (tmp_path / "out.problems.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [problem]
    assert run("convert", ["coco", str(file), str(out), "--fix"]) == 0
    assert objects_of(out) == left
    assert run("convert", ["coco", str(out), str(tmp_path / "again.json"), "--images", str(source / "set")]) == 0


def write_coco_file(source: Path, content: dict) -> Path:
    (source / "set.json").write_text(json.dumps(content))
    return source / "set.json"


def test_yolo_lines_that_are_wrong(tmp_path, source, capsys):
    root = write_yolo(source)
    (root / "labels" / "a.txt").write_text("0 0.5 0.5\nx 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.2 0.2\n")
    (root / "labels" / "c.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "labels" / "b.txt").unlink()
    assert run("convert", ["yolo", str(root), str(tmp_path / "out.json"), "--fix"]) == 0
    said = capsys.readouterr().out
    for part in ("2 x annotation that cannot be read", "a.txt, line 2", "class number 7", "1 x missing picture"):
        assert part in said
    left = objects_of(tmp_path / "out.json")
    assert {name: len(objects) for name, objects in left.items()} == {"a": 1, "b": 0}


def test_xml_with_a_document_type_is_refused(tmp_path, source, capsys):
    write_voc(source)
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>' + voc_xml("a.png", [("&y;", [1, 1, 5, 5])], (64, 48))
    (source / "Annotations" / "a.xml").write_bytes(bomb.encode("utf-16"))
    assert run("convert", ["voc", str(source), str(tmp_path / "out.json")]) == 2
    assert "DOCTYPE" in capsys.readouterr().out


def test_names_of_pictures_cannot_lead_out_of_their_folder(tmp_path, source):
    write_voc(source)
    xml = source / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("a.png", "../../a.png"))
    assert run("convert", ["voc", str(source), str(tmp_path / "out.json")]) == 0
    assert objects_of(tmp_path / "out.json") == BOXES


def test_shapes_of_other_kinds_are_reported(tmp_path, source, capsys):
    write_labelme(source)
    content = json.loads((source / "a.json").read_text())
    content["shapes"].append({"label": "cat", "shape_type": "point", "points": [[3, 3]]})
    (source / "a.json").write_text(json.dumps(content))
    assert run("convert", ["labelme", str(source), str(tmp_path / "out.json"), "--fix"]) == 0
    assert "neither rectangle nor polygon" in capsys.readouterr().out
    assert objects_of(tmp_path / "out.json") == BOXES


def test_near_names_and_existing_files(tmp_path, source, capsys):
    write_voc(source)
    out = tmp_path / "out.json"
    out.write_text("mine")
    assert run("convert", ["voc", str(source), str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run("convert", ["voc", str(source), str(out), "--force", "--classes", "cats,dog"]) == 2
    assert "'cat' (near: 'cats')" in capsys.readouterr().out
    assert out.read_text() == "mine"
    assert run("convert", ["voc", str(source), str(out), "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voc", "{empty}", "o.json"], "no *.xml"),
        (["yolo", "{empty}", "o.json"], "no label files"),
        (["labelme", "{empty}", "o.json"], "no labelme"),
        (["coco", "{empty}", "o.json"], "needs a JSON file"),
        (["voc", "{empty}/gone", "o.json"], "does not exist"),
        (["coco", "{text}", "o.json"], "is not JSON"),
        (["voc", "{empty}", "o.json", "--images", "gone"], "--images"),
        (["voc", "{empty}", "o.json", "--class-file", "gone"], "--class-file"),
        (["voc", "{empty}", "o.json", "--classes", "a,,b"], "distinct and not empty"),
    ],
)
def test_unusable_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    assert run("convert", [part.format(empty="empty", text="text") for part in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_split_is_a_list_of_the_set_itself(tmp_path, source, capsys):
    write_voc(source)
    lists = source / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    out = tmp_path / "out.json"
    assert run("convert", ["voc", str(source), str(out), "--split", "val"]) == 0
    assert objects_of(out) == {"b": BOXES["b"]}
    assert run("convert", ["voc", str(source), str(tmp_path / "b.json"), "--split", "test"]) == 2
    assert "--split" in capsys.readouterr().err
    assert run("convert", ["yolo", str(source), str(tmp_path / "b.json"), "--split", "val"]) == 2


def test_corners_at_zero_point_to_the_option_for_them(tmp_path, source, capsys):
    write_voc(source)
    xml = source / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<xmin>1<", "<xmin>0<"))
    assert run("convert", ["voc", str(source), str(tmp_path / "out.json")]) == 2
    assert "--zero-based" in capsys.readouterr().out
    assert run("convert", ["voc", str(source), str(tmp_path / "out.json"), "--zero-based"]) == 0
    assert "--zero-based" not in capsys.readouterr().out


def test_quick_reads_heads_and_turns_as_decoding_does(tmp_path, source):
    from PIL import Image

    write_yolo(source)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.new("RGB", (48, 64)).save(source / "images" / "a.jpg", exif=exif)
    (source / "images" / "a.png").unlink()
    data = (source / "images" / "b.png").read_bytes()
    (source / "images" / "b.png").write_bytes(data[: len(data) // 2])
    assert run("convert", ["yolo", str(source), str(tmp_path / "out.json")]) == 2
    assert run("convert", ["yolo", str(source), str(tmp_path / "out.json"), "--quick"]) == 0
    assert objects_of(tmp_path / "out.json") == BOXES


def test_yolo_classes_are_numbered_by_the_option_where_no_file_names_them(tmp_path, source):
    write_yolo(source)
    (source / "data.yaml").unlink()
    out = tmp_path / "out.json"
    assert run("convert", ["yolo", str(source), str(out), "--classes", ",".join(CLASSES)]) == 0
    assert objects_of(out) == BOXES


def test_a_labelme_circle_becomes_a_polygon_around_its_middle(tmp_path, source):
    write_labelme(source)
    shape = {"label": "cat", "shape_type": "circle", "points": [[30, 20], [33, 24]]}
    (source / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    assert run("convert", ["labelme", str(source), str(tmp_path / "out.json")]) == 0
    one = json.loads((tmp_path / "out.json").read_text())["annotations"][0]
    assert one["bbox"] == [25, 15, 10, 10]
    assert one["area"] == pytest.approx(np.pi * 25, rel=0.01)
