import pytest

from toolkit.config import find_config, shipped_configs
from toolkit.errors import UserError


def test_a_shipped_config_is_found_by_every_name():
    name, path = next(iter(shipped_configs().items()))
    for form in (name, f"{name}.py", name.rsplit("/", 1)[-1], f"configs/{name}.py", str(path)):
        assert find_config(form).resolve() == path.resolve()


def test_mmdet_configs_are_found():
    path = find_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    assert path.is_file()
    assert find_config("retinanet_r50_fpn_1x_coco") == path


def test_a_wrong_name_gets_the_nearest_ones():
    name = next(iter(shipped_configs()))
    with pytest.raises(UserError, match=f"did you mean .*{name}"):
        find_config(name + "x")
