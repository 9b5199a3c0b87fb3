import pytest

from toolkit.cli import run


def test_lists_modules_with_their_papers(capsys):
    assert run("list", ["modules", "--kind", "attention"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [se] = [line.split(None, 4) for line in lines if line.startswith("SE ")]
    assert se[1:3] == ["attention", "512"]  # two matrices of 64 x 4
    assert se[3] == "equal"
    assert "Squeeze-and-Excitation" in se[4]
    assert not any(" conv " in line for line in lines)


def test_lists_shipped_configs(capsys):
    assert run("list", ["configs"]) == 0
    assert "detection/yolo_ms_xs_80e_bccd" in capsys.readouterr().out


def test_unknown_kind_names_the_known(capsys):
    assert run("list", ["modules", "--kind", "attn"]) == 2
    assert "attention" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SE", "se"])
def test_shows_a_line_for_a_config(name, capsys):
    assert run("show", [name]) == 0
    out = capsys.readouterr().out
    assert "dict(cfg=dict(type='SE')" in out
    assert "reduction: the hidden layer" in out


def test_unknown_name_gets_its_neighbours(capsys):
    assert run("show", ["MSBlok"]) == 2
    assert "MSBlock" in capsys.readouterr().err
