"""RelationNet++ (BVR) as published: our modules carry the published names but for the geometry term's.

Published checkpoints hold the computed geometry maps too, and where both transformers share one geometry, hold it
twice.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require

if TYPE_CHECKING:
    from torch import Tensor, nn

GEOMETRY = "relative_positional_encoding."
# Values of the published options that have no argument here: all published configurations have these.
FIXED = {
    "keypoint_pos": "input",
    "scale_position": False,
    "selection_method": "index",
    "cross_level_selection": True,
    "with_key_score": False,
    "with_relation": True,
    "log_scale": True,
    "position_dim": 2,
    "shared_stacked_convs": 0,
    "corner_pooling": False,
    "gaussian_iou": 0.7,
}
CORNERS = ("top_left_corner", "bottom_right_corner")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a whole published detector or of a transformer of it."""
    return any(f"{GEOMETRY}embedding_transform." in key for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names; None for the computed map."""
    if key.endswith(f"{GEOMETRY}base_embedding"):
        return None
    return key.replace(f"{GEOMETRY}embedding_transform.0.conv.", "geometry.conv.")


def build(case: Mapping) -> Built:
    """Our head or a part of it for a case."""
    from toolkit.ops import load_mmdet

    load_mmdet()
    facts = case["constructor"]
    if "bbox_head_cfg" in facts:
        return build_head(facts)
    if "keypoint_head" in facts:
        return build_keypoint_head(facts)
    return build_transformer(facts, case["inputs"]) if "embedding_dim" in facts else build_targets(facts)


def _variable(facts: Mapping) -> dict:
    """`facts` without the options of FIXED."""
    require(facts, FIXED)
    return {key: value for key, value in facts.items() if key not in FIXED}


def _square(facts: Mapping) -> int:
    width, height = _variable(facts)["base_size"]
    if width != height:
        raise NotImplementedCase(f"base_size {width} x {height}: equal sides only")
    return width


def _keypoint_head(facts: Mapping) -> dict:
    facts = _variable(facts)
    if "head_types" in facts:
        facts["keypoint_types"] = facts.pop("head_types")
    return dict(facts, type="KeypointHead")


def _selection(facts: Mapping) -> dict:
    return dict(
        keys_per_level=_variable(facts["keypoint_cfg"])["max_keypoint_num"],
        num_keys=_variable(facts["feature_selection_cfg"])["cross_level_topk"],
    )


def build_head(facts: Mapping) -> Built:
    """The whole head on the levels of a pyramid, with the last convolutions' outputs."""
    from mmengine.registry import MODELS, DefaultScope
    from torch import nn

    facts = _variable(facts)
    base = dict(facts["bbox_head_cfg"])
    if base["type"] == "ATSSHead" and base.pop("dcn_on_last_conv", False):
        base["type"] = "ATSSHeadDCN"
    config = dict(
        type="BVRHead",
        bbox_head=base,
        keypoint_head=_keypoint_head(facts["keypoint_head_cfg"]),
        cls_keypoint_types=_variable(facts["cls_keypoint_cfg"])["keypoint_types"],
        reg_keypoint_types=_variable(facts["reg_keypoint_cfg"])["keypoint_types"],
        num_heads=facts["num_attn_heads"],
        geometry_size=_square(facts["pos_cfg"]),
        share_geometry=facts.get("shared_positional_encoding_outer", False),
        **_selection(facts),
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = nn.ModuleDict({"bbox_head": MODELS.build(config)})
    return Built(model, head_outputs)


def head_outputs(model: "nn.ModuleDict", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Class scores, boxes and, where the head has it, centerness of each level."""
    outputs = zip(("cls_score", "bbox_pred", "centerness"), model["bbox_head"](tuple(inputs.values())), strict=False)
    return {f"{name}{i}": tensor for name, tensors in outputs for i, tensor in enumerate(tensors)}


def build_keypoint_head(facts: Mapping) -> Built:
    """The keypoint head, its candidates on each level and the keys chosen from them.

    The corner types share a batch in these cases, and features come from the levels themselves.
    """
    import torch
    from mmengine.registry import MODELS, DefaultScope
    from torch import nn

    from toolkit.heads.bvr import level_candidates, select_keys
    from toolkit.heads.keypoint_head import cell_positions

    chosen = _selection(facts)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(_keypoint_head(facts["keypoint_head"]))

    def forward(model: "nn.ModuleDict", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        feats = list(inputs.values())
        heats, outputs = model["keypoint_head"](feats), {}
        for kind, levels in heats.items():
            for i, (score, offset) in enumerate(levels):
                outputs |= {f"score_{kind}_{i}": score, f"offset_{kind}_{i}": offset}
        for i, stride in enumerate(head.strides):
            corners = map(torch.cat, zip(*(heats[kind][i] for kind in CORNERS), strict=True))
            names = (f"topk_score_{i}", f"topk_pos_{i}", f"topk_ind_{i}")
            outputs |= zip(names, level_candidates(*corners, stride, chosen["keys_per_level"]), strict=True)
            y, x = torch.meshgrid(*(cell_positions(n, stride, feats[i]) for n in feats[i].shape[-2:]), indexing="ij")
            outputs[f"locations_{i}"] = torch.stack([x, y, torch.full_like(x, stride)], 2).flatten(0, 1)
        cells = torch.cat([feat.flatten(2) for feat in feats], 2).transpose(1, 2)
        for group, kind in enumerate(CORNERS):
            outputs[f"sel_pos_{group}"], index = select_keys(heats[kind], head.strides, **chosen)
            outputs[f"sel_feat_{group}"] = cells.gather(1, index.unsqueeze(2).expand(-1, -1, cells.shape[2]))
        return outputs

    return Built(nn.ModuleDict({"keypoint_head": head}), forward)


def build_transformer(facts: Mapping, inputs: list[Mapping]) -> Built:
    """The decoder of one tower; queries (B, H, W, C) stand anywhere, positions come in 0 to 1 of 800 pixels."""
    from toolkit.heads.bvr import BridgingTransformer, RelativeGeometry

    facts = _variable(facts)
    channels, heads = facts["embedding_dim"], facts["num_heads"]
    geometry = RelativeGeometry(channels, heads, _square(facts["positional_cfg"]), facts["scale"])
    groups = range(facts["num_outer_heads"])
    levels = range(sum(spec["name"].startswith("query") for spec in inputs))

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        outputs = {}
        keys = [inputs[f"key_g{group}"] for group in groups]
        for level in levels:
            query, cells = inputs[f"query{level}"], 800 * inputs[f"qpos{level}"].flatten(1, 2).unsqueeze(2)
            offsets = [800 * inputs[f"kpos_g{group}"].unsqueeze(1) - cells for group in groups]  # (B, HW, K, 2)
            weights = [model.geometry(*offset.unbind(3)) for offset in offsets]
            outputs[f"refined{level}"] = model(query.flatten(1, 2), keys, weights).view_as(query)
            for group, weight in enumerate(weights):
                outputs[f"geometry_exp_g{group}_level{level}"] = weight.exp().permute(0, 2, 3, 1)
        return outputs

    return Built(BridgingTransformer(channels, len(groups), heads, geometry), forward)


def build_targets(facts: Mapping) -> Built:
    """What the keypoint head should say about boxes: offsets, heat and positive cells of all levels joined."""
    import torch
    from torch import nn

    from toolkit.heads.keypoint_head import level_targets

    facts = _variable(facts)
    (height, width), classes = facts["image"], facts["num_classes"]

    def forward(_: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        corner = inputs["gt_xy"] * inputs["gt_xy"].new_tensor([0.6 * width, 0.6 * height])
        extent = 8 + inputs["gt_wh"] * inputs["gt_wh"].new_tensor([0.39 * width, 0.39 * height])
        boxes, labels = torch.cat([corner, corner + extent], 1), 7 * torch.arange(len(corner)) % classes
        outputs = {}
        for name, kind in (("tl", "top_left_corner"), ("br", "bottom_right_corner"), ("ct", "center")):
            levels = [
                level_targets(boxes, labels, kind, (-(-height // stride), -(-width // stride)), stride)
                for stride in facts["strides"]
            ]
            heat, label, offset, positive = (
                torch.cat([part.flatten(0, 1) for part in parts]) for parts in zip(*levels, strict=True)
            )
            outputs |= {
                f"{name}_offset": offset,
                f"{name}_score_maxclass": heat,
                f"{name}_score_class": heat.new_zeros(classes).index_add(0, label, heat),
                f"{name}_pos": positive.float(),
            }
        return outputs

    return Built(nn.Identity(), forward)


VERIFIES = ("BVRHead", "KeypointHead", "ATSSHeadDCN")
FAMILY = Family("BVR", recognises, rename, of_repository("microsoft/RelationNet2"), build, VERIFIES)
