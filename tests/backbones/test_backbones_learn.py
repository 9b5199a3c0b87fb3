"""Every backbone, in a small form, learns under RetinaNet and under UPerNet (`pytest -m slow`)."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from test_contract import EXAMPLES
from torch import nn

from toolkit.config import load_config, load_scope
from toolkit.data.shapes import CLASSES, make_picture
from toolkit.engine.amp import BFloat16OptimWrapper

# With 64, RetinaNet would stride over a map of 1x1, for which oneDNN leaves parts of a bfloat16 weight gradient unset.
SIZE, PICTURES, STEPS = 96, 12, 50
FORMS = EXAMPLES | {
    "TimmBackbone": dict(arch="resnet18", out_indices=(1, 2, 3, 4)),
    "ARCResNet": dict(depth=50, base_channels=16, norm_eval=False),
    "ECAResNet": dict(depth=18, base_channels=16, norm_eval=False),
    "FDConvResNet": dict(depth=50, base_channels=16, norm_eval=False),
    "NiNformer": dict(arch=dict(patch_size=4, d_model=32, d_ffn=64, num_layers=2), image_size=SIZE),
    "YOLOMSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.25),
    "YOLOv8MSBackbone": dict(deepen_factor=1 / 3, widen_factor=0.15),
}
CONFIGS = dict(retinanet="detection/retinanet_r18_8e_bccd", upernet="segmentation/upernet_r18_60e_camvid")


@pytest.fixture(scope="module")
def shapes() -> list[dict[str, Any]]:
    """Batches of two pictures: pixels, boxes with their labels, classes of the pixels (0 is the ground)."""
    made = []
    for seed in range(PICTURES):
        picture, found = make_picture(np.random.default_rng(seed), SIZE)
        corners = torch.tensor([one.box for one in found]).float().reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        classes = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
        for one in found:
            classes[0][torch.from_numpy(one.mask)] = one.label + 1
        labels = torch.tensor([one.label for one in found])
        made.append((torch.from_numpy(picture).permute(2, 0, 1), InstanceData(bboxes=corners, labels=labels), classes))
    return [made[i : i + 2] for i in range(0, PICTURES, 2)]


def network(head: str, name: str) -> nn.Module:
    """The shipped network of that head around another backbone, with the neck that its maps need."""
    config = load_config(CONFIGS[head])
    load_scope(config)
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type=name, **FORMS[name]))
    with torch.no_grad():
        maps = backbone.eval()(torch.randn(1, 3, SIZE, SIZE))[-4:]
    channels = [one.shape[1] for one in maps]
    strides = [round(SIZE / one.shape[2]) for one in maps]
    model, is_plain = config.model, len(set(strides)) == 1
    least = 8 if head == "retinanet" else 4
    if is_plain:
        scales = [strides[0] / least / 2**i for i in range(3 if head == "retinanet" else 4)]
        outs = 5 if head == "retinanet" else 4
        plain = dict(type="SimpleFeaturePyramid", in_channels=channels, out_channels=128, scales=scales, num_outs=outs)
        model.neck, channels = plain, [128] * 4
    elif head == "retinanet":
        model.neck.update(in_channels=channels, start_level=next(i for i, stride in enumerate(strides) if stride >= 8))
    if head == "retinanet":
        model.bbox_head.num_classes = len(CLASSES)
    else:
        places = list(range(len(channels)))
        model.decode_head.update(in_channels=channels, in_index=places, num_classes=len(CLASSES) + 1)
    made = MODELS.build(model)
    made.backbone = backbone
    made.init_weights()
    return made.train()


def batch(head: str, pictures: list[tuple]) -> dict[str, Any]:
    from mmdet.structures import DetDataSample
    from mmseg.structures import SegDataSample

    meta = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE))
    samples = []
    for _, boxes, classes in pictures:
        sample = (DetDataSample if head == "retinanet" else SegDataSample)(metainfo=meta)
        if head == "retinanet":
            sample.gt_instances = boxes
        else:
            sample.gt_sem_seg = PixelData(data=classes)
        samples.append(sample)
    return dict(inputs=[picture for picture, *_ in pictures], data_samples=samples)


@pytest.mark.slow
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("head", CONFIGS)
@pytest.mark.parametrize("name", FORMS)
def test_fifty_steps_bring_the_loss_down(name: str, head: str, amp: bool, shapes: list):
    net = network(head, name)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-4, fused=True)
    wrapper = (BFloat16OptimWrapper if amp else OptimWrapper)(optimizer, clip_grad=dict(max_norm=10))
    losses = []
    for step in range(STEPS):
        found = net.train_step(batch(head, shapes[step % len(shapes)]), wrapper)
        losses.append(float(found["loss"]))
    assert np.isfinite(losses).all()
    assert all(value.isfinite().all() for value in net.state_dict().values())
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
