"""TimmBackbone: any network of timm as a backbone.

PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.

`ConvNeXt`, `InceptionNeXt`, `PoolFormer`, `LowFormer` and `CrossViT` beside this file are the same under the names and
with the output norms of their papers.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import timm
import torch
from mmengine.registry import MODELS
from timm.layers import Format, GroupNorm1, LayerNorm2d
from timm.models import FeatureListNet, model_entrypoint
from torch import Tensor, nn

from toolkit.backbones.base import Backbone
from toolkit.errors import near

OUT_NORMS = {"LN": lambda channels: LayerNorm2d(channels, eps=1e-6), "GN": GroupNorm1}
OUT_NORM = re.compile(r"norm\d+\.(weight|bias)$")
ANY_SIZE = {"vision_transformer": dict(dynamic_img_size=True, dynamic_img_pad=True)}


@MODELS.register_module()
class TimmBackbone(Backbone):
    """Feature maps of a network that timm builds.

    A checkpoint loads with timm's own keys and, where timm knows them, with the authors'; what belongs to a classifier
    is left out. Never downloads: name a file in `init_cfg=dict(type='Pretrained', checkpoint=...)`.

    Args:
        arch: timm's name, such as `resnet50` or `vit_small_patch16_224`.
        in_channels: channels of the picture.
        out_indices: maps to give, counted as timm counts them: stages of a pyramid (many networks have a first one at
            stride 2), blocks of a transformer; None for timm's choice. What lies behind the last one is not built.
        frozen_stages: freeze what lies before map 0 (0) and what gives the first maps (their number); -1 for nothing.
        drop_path_rate: of the last block, rising from 0 at the first.
        with_cp: recompute the stages in the backward pass to save memory.
        out_norm: norm after each map, as published detectors have: `LN` (over channels, eps 1e-6), `GN` (one group).
        model_args: further arguments of timm's model.
        init_cfg: as mmengine's.

    Raises:
        ValueError: timm has no such network or map, or cannot freeze it stage by stage.
    """

    def __init__(
        self,
        arch: str,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        out_norm: str | None = None,
        model_args: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        name = type(self).__name__
        if not timm.is_model(arch):
            raise ValueError(f"{name}: timm has no network {arch!r}{near(arch, timm.list_models())}")
        if out_norm not in (None, *OUT_NORMS):
            raise ValueError(f"{name}: out_norm must be None, {' or '.join(OUT_NORMS)}, got {out_norm!r}")
        self._timm_module = model_entrypoint(arch).__module__
        args = dict(ANY_SIZE.get(self._timm_module.rpartition(".")[2], {}), in_chans=in_channels, features_only=True)
        if drop_path_rate:
            args["drop_path_rate"] = drop_path_rate
        if out_indices is not None:
            args["out_indices"] = tuple(out_indices)
        try:
            net = timm.create_model(arch, pretrained=False, **args | (model_args or {}))
        except (AssertionError, IndexError) as error:
            raise ValueError(f"{name}: {arch} has no maps {tuple(out_indices or ())} ({error})") from None
        except TypeError as error:
            raise ValueError(f"{name}: {arch} does not take all of the arguments ({error})") from None
        info = net.feature_info.info
        chosen = tuple(net.feature_info.out_indices)
        super().__init__(
            [entry["num_chs"] for entry in info],
            [entry["reduction"] for entry in info],
            tuple(i % len(info) for i in chosen),
            frozen_stages,
            with_cp,
            init_cfg,
        )
        self.net = net
        self.has_norms = out_norm is not None
        if self.has_norms:
            for i, channels in zip(self.out_indices, self.out_channels, strict=True):
                self.add_module(f"norm{i}", OUT_NORMS[out_norm](channels))
        self.recomputes_itself = with_cp and _recomputes_blocks(getattr(net, "model", None))
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        ends = [entry["module"] for entry in self.net.feature_info.info]
        if isinstance(self.net, FeatureListNet):
            parts: list[list[nn.Module]] = [[]]
            for name, module in self.net.items():
                if name == ends[len(parts) - 1].replace(".", "_"):
                    parts.append([])
                parts[-1].append(module)
            return parts
        if not hasattr(self.net, "model"):
            if self.frozen_stages >= 0:
                raise ValueError(f"{type(self).__name__}: frozen_stages must be -1, this network is not cut in stages")
            return []
        model = self.net.model
        stem: list[nn.Module | nn.Parameter] = list(model.parameters(recurse=False))
        for name, module in model.named_children():
            if ends[0].startswith(f"{name}."):
                break
            stem.append(module)
        modules = dict(model.named_modules())
        return [stem, *([modules[end]] if end in modules else [] for end in ends)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (B, in_channels, H, W) -> (B, C_i, H / s_i, W / s_i) each
        if isinstance(self.net, FeatureListNet):
            maps = self._stagewise(x)
        else:
            maps = self.net(x) if self.recomputes_itself else self.run(self.net, x)
        if self.has_norms:
            maps = [getattr(self, f"norm{i}")(one) for i, one in zip(self.out_indices, maps, strict=True)]
        return tuple(maps)

    def _stagewise(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, module in self.net.items():
            is_leaf = not any(True for _ in module.children())  # little to save, and it may work in place
            x = module(x) if is_leaf else self.run(module, x)
            if name in self.net.return_layers:
                maps.append(x.permute(0, 3, 1, 2) if self.net.output_fmt == Format.NHWC else x)
        return maps

    def from_published(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under timm's or the authors' keys, under ours; a classifier's get names that have no place here."""
        norms = {key: value for key, value in state_dict.items() if OUT_NORM.match(key)}
        trunk = self.timm_names({key: value for key, value in state_dict.items() if key not in norms})
        return {self._our_name(key): value for key, value in trunk.items()} | norms

    def timm_names(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' keys as timm's; timm's as they are."""
        convert = getattr(import_module(self._timm_module), "checkpoint_filter_fn", None)
        try:
            return convert(state_dict, _Shapes(self)) if convert else state_dict
        except (
            AttributeError,
            KeyError,
            RuntimeError,
        ):  # of another network: loading names the keys
            return state_dict

    def _our_name(self, key: str) -> str:
        if hasattr(self.net, "model"):  # not cut in stages but asked for its intermediate maps
            return f"net.model.{key}"
        first, _, rest = key.partition(".")
        second, _, rest = rest.partition(".")
        return f"net.{first}_{second}.{rest}" if f"{first}_{second}" in self.net._modules else f"net.{key}"

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        found = {key.removeprefix(prefix): key for key in state_dict if key.startswith(prefix)}
        if found and not any(name.startswith("net.") for name in found):
            published = {name: state_dict.pop(key) for name, key in found.items()}
            wrapped = next((value for value in published.values() if isinstance(value, Mapping)), published)
            own = self.state_dict()
            ours = {name: value for name, value in self.from_published(wrapped).items() if name in own}
            state_dict.update({f"{prefix}{name}": value for name, value in ours.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)


def _recomputes_blocks(model: nn.Module | None) -> bool:
    """Have a transformer of timm recompute block by block, where it can."""
    try:
        model.set_grad_checkpointing(True)
    except (AssertionError, AttributeError):
        return False
    return True


class _Shapes(dict):
    """What timm's converters of checkpoints ask of a model: its tensors by timm's names, empty ones for a head's."""

    def __init__(self, backbone: TimmBackbone):
        super().__init__()
        self.tensors, self.name = backbone.state_dict(), backbone._our_name

    def state_dict(self) -> "_Shapes":
        return self

    def __missing__(self, key: str) -> Tensor:
        return self.tensors.get(self.name(key), torch.empty(0))
