"""The finder that serves `mmcv._ext`, and the silence of the imports it allows."""

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec

import mmcv._ext
import mmcv.ops
import pytest


def run(code: str, *options: str) -> str:
    """What `code` prints in a fresh interpreter, on both streams."""
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_ext_has_a_real_spec():
    spec = importlib.util.find_spec("mmcv._ext")
    assert isinstance(spec, ModuleSpec)
    assert spec.name == "mmcv._ext"
    assert mmcv._ext.__spec__.origin == spec.origin


def test_import_toolkit_leaves_torch_alone():
    assert run("import sys, toolkit; print('torch' in sys.modules)").strip() == "False"


def test_compiled_ext_wins(tmp_path):
    (tmp_path / "_ext.py").write_text("compiled = True\n")
    code = f"import toolkit, mmcv; mmcv.__path__.append({str(tmp_path)!r}); import mmcv._ext; print(mmcv._ext.compiled)"
    assert run(code).strip() == "True"


def test_loading_mmdet_and_mmseg_prints_nothing():
    code = (
        "from toolkit.ops import load_mmdet, load_mmseg; load_mmdet(); load_mmseg()\n"
        "from mmengine.registry import MODELS\n"
        "assert MODELS.get('mmdet.RetinaNet') and MODELS.get('mmseg.EncoderDecoder')"
    )
    assert run(code) == ""


def test_plain_imports_after_toolkit_print_nothing():
    assert run("import toolkit, mmdet.datasets, mmdet.evaluation, mmdet.models, mmseg.datasets, mmseg.models") == ""


def test_debug_messages_reach_a_logger_and_others_the_screen():
    code = (
        "import toolkit, logging\n"
        "from mmengine.logging import print_log\n"
        "print_log('a', level=logging.DEBUG); print_log('b'); print_log('c', level=logging.WARNING)\n"
        "logging.basicConfig(level=logging.DEBUG, format='%(message)s')\n"
        "print_log('d', logging.getLogger('x'), logging.DEBUG)"
    )
    assert sorted(run(code).split()) == ["b", "c", "d"]


def test_missing_operator_names_itself_when_called():
    with pytest.raises(NotImplementedError, match=r"'ball_query_forward'.*compiled"):
        mmcv._ext.ball_query_forward(0.1, 0.2)


def test_missing_operator_names_itself_through_mmcv():
    import torch

    boxes = torch.tensor([[5.0, 5.0, 4.0, 4.0, 0.1]])
    with pytest.raises(NotImplementedError, match="'nms_rotated'"):
        mmcv.ops.nms_rotated(boxes, torch.ones(1), 0.5)


def test_ext_answers_no_special_names():
    assert not hasattr(mmcv._ext, "__wrapped__")


def test_compiler_versions_are_text():
    assert "torchvision" in mmcv.ops.get_compiler_version()
    assert isinstance(mmcv.ops.get_compiling_cuda_version(), str)
