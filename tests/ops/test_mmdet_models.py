"""mmdet's and mmseg's models take a training step and predict, on nothing but torchvision's operators.

The models are those of the configs that mmdet and mmseg ship, on ResNet-18 and with fewer layers and queries.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torchvision.ops import box_iou

from toolkit.ops import load_mmdet, load_mmseg

SIDE = 128
FEW_BOXES = {
    "train_cfg.rpn_proposal.max_per_img": 100,
    "train_cfg.rcnn.sampler.num": 32,
    "test_cfg.rpn.max_per_img": 100,
    "test_cfg.rcnn.max_per_img": 20,
}
FEW_LAYERS = {"encoder.num_layers": 1, "decoder.num_layers": 2, "num_queries": 20}
DETECTORS = {
    "retinanet/retinanet_r18_fpn_1x_coco": {},
    "fcos/fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco": {},
    "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco": {},
    "gfl/gfl_r50_fpn_1x_coco": {},
    "rtmdet/rtmdet_tiny_8xb32-300e_coco": {"bbox_head.exp_on_reg": True},  # untrained, boxes are empty without exp
    "yolox/yolox_tiny_8xb8-300e_coco": {},
    "faster_rcnn/faster-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco": FEW_BOXES,
    "faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco": FEW_BOXES,
    "mask_rcnn/mask-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco": FEW_BOXES,
    "reppoints/reppoints-moment_r50_fpn_1x_coco": {},
    "vfnet/vfnet_r50_fpn_1x_coco": {},
    "tood/tood_r50_fpn_1x_coco": {},
    "dyhead/atss_r50_fpn_dyhead_1x_coco": {"neck.1.num_blocks": 1},
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco": FEW_LAYERS,
    "dino/dino-4scale_r50_8xb2-12e_coco": FEW_LAYERS,
    "guided_anchoring/ga-retinanet_r50_fpn_1x_coco": {},
    "carafe/faster-rcnn_r50_fpn-carafe_1x_coco": FEW_BOXES,
    "mask2former/mask2former_r50_8xb2-lsj-50e_coco": {
        "panoptic_head.num_queries": 10,
        "panoptic_head.pixel_decoder.encoder.num_layers": 1,
        "panoptic_head.transformer_decoder.num_layers": 1,
        "train_cfg.num_points": 256,
    },
}
SEGMENTORS = {
    "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024": {},
    "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024": {
        "decode_head.in_channels": 512,
        "decode_head.mask_size": (31, 31),
        "auxiliary_head.in_channels": 256,
    },
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024": {},
    "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024": {},
    "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024": {},
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    load_mmdet()
    load_mmseg()
    MessageHub.get_current_instance().update_info("epoch", 0)  # TOOD asks for it; a runner's hook tells it


def shrink(node: object) -> object:
    """A model config for one CPU: ResNet-18, nothing to download, images as they are, every score good enough."""
    if isinstance(node, list | tuple):
        return type(node)(shrink(value) for value in node)
    if not isinstance(node, dict):
        return node
    small = {key: shrink(value) for key, value in node.items() if key not in ("init_cfg", "pretrained")}
    for key, value in small.items():
        if key == "depth" and value == 50:
            small[key] = 18
        if key == "in_channels" and isinstance(value, list) and set(value) <= {256, 512, 1024, 2048}:
            small[key] = [channels // 4 for channels in value]
        if key == "type" and value == "SyncBN":
            small[key] = "BN"
        if key == "score_thr":
            small[key] = 0.0
        if key == "batch_augments":
            small[key] = None
        if small.get("type") == "SegDataPreProcessor":
            small["size"] = (SIDE, SIDE)
    return small


def build(library: str, name: str, changes: dict[str, object]) -> tuple[nn.Module, ConfigDict]:
    folder = Path(find_spec(library).origin).parent / ".mim" / "configs"
    model = shrink(Config.fromfile(folder / f"{name}.py").model.to_dict())
    config = Config(dict(model=model))
    config.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    config.model["_scope_"] = library
    model = MODELS.build(config.model)
    model.init_weights()
    return model, config.model


def pictures() -> list[Tensor]:
    return [torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8) for _ in range(2)]


def annotated(with_masks: bool) -> list:
    """Truth of two pictures: two boxes each, their masks filled."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[12.0, 20, 70, 90], [60, 30, 120, 110]])
    truth = InstanceData(bboxes=boxes, labels=torch.tensor([1, 7]))
    if with_masks:
        masks = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        truth.masks = BitmapMasks(masks.numpy(), SIDE, SIDE)
    size = (SIDE, SIDE)
    info = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    nobody = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return [
        DetDataSample(metainfo=info, gt_instances=truth.clone(), ignored_instances=nobody.clone()) for _ in range(2)
    ]


def train_one_step(model: nn.Module, samples: list) -> None:
    """Losses are finite, and every parameter that is to be trained gets a finite gradient."""
    model.train()
    data = model.data_preprocessor(dict(inputs=pictures(), data_samples=samples), training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    assert loss.isfinite()
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, grad in trained.items() if grad is None] == []
    assert [name for name, grad in trained.items() if not grad.isfinite().all()] == []
    torch.optim.SGD(model.parameters(), 1e-4).step()


def suppressed_from(config: ConfigDict) -> float:
    """IoU above which the model lets no two boxes of one class stand; 1 if it does not suppress by a fixed IoU."""
    test = config.get("test_cfg", {})
    nms = test.get("rcnn", test).get("nms", {})
    return nms.get("iou_threshold", 1.0) if nms.get("type") == "nms" else 1.0


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_trains_and_predicts(name):
    model, config = build("mmdet", name, DETECTORS[name])
    samples = annotated(with_masks="mask" in name)
    train_one_step(model, samples)
    model.eval()
    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=pictures()[:1], data_samples=samples[:1]))
    found = result.pred_instances
    assert len(found) > 0
    assert found.scores.isfinite().all()
    assert found.bboxes.isfinite().all()
    overlap = box_iou(found.bboxes, found.bboxes).fill_diagonal_(0) * (found.labels[:, None] == found.labels)
    assert overlap.max() <= suppressed_from(config) + 1e-4


@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentor_trains_and_predicts(name):
    from mmseg.structures import SegDataSample

    model, _ = build("mmseg", name, SEGMENTORS[name])
    size = (SIDE, SIDE)
    truth = PixelData(data=torch.randint(0, 19, (1, *size)))
    info = dict(img_shape=size, ori_shape=size, pad_shape=size)
    samples = [SegDataSample(metainfo=info, gt_sem_seg=truth.clone()) for _ in range(2)]
    train_one_step(model, samples)
    model.eval()
    with torch.no_grad():
        results = model.test_step(dict(inputs=pictures(), data_samples=samples))
    for result in results:
        assert result.seg_logits.data.isfinite().all()
        assert torch.equal(result.seg_logits.data.argmax(0), result.pred_sem_seg.data[0])
