"""A classifier of pictures: a backbone, the mean of its last map, and a linear head.

Mixup (mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412) trains on pairs of pictures:

    x = l * x_i + (1 - l) * x_j,  y = l * y_i + (1 - l) * y_j,  l ~ Beta(alpha, alpha), one for a batch
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET = dict(
    type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone with a head on the mean of its last map.

    Args:
        backbone: config of any backbone: pictures (B, 3, H, W) -> maps, of which the last, (B, C, h, w), is used.
        head: config of a `LinearHead`, whose `in_channels` is the backbone's where it is not given; None for features
            alone.
        mixup: alpha of mixup's Beta distribution, 0.1 to 0.4 in the paper; 0 for none.
        data_preprocessor: ImageNet's mean and deviation of RGB by default.
        init_cfg: see mmengine.

    Raises:
        ValueError: `mixup` is negative, or the backbone does not say how many channels it gives.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict | None = None,
        mixup: float = 0.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor or dict(IMAGENET), init_cfg)
        if mixup < 0:
            raise ValueError(f"ImageClassifier: mixup must be 0 or more, got {mixup}")
        self.mixup = mixup
        self.backbone = MODELS.build(backbone).to(memory_format=torch.channels_last)  # faster on a CPU
        self.head = None
        if head is not None:
            self.head = MODELS.build(dict(head, in_channels=head.get("in_channels") or last_width(self.backbone)))

    def extract(self, inputs: Tensor) -> Tensor:
        """The mean over the last map of normalised pictures: (B, 3, H, W) -> (B, C)."""
        maps = self.backbone(inputs)
        last = maps[-1] if isinstance(maps, list | tuple) else maps
        return last.float().mean((2, 3))

    def forward(
        self, inputs: Tensor, mode: str = "tensor", label: Sequence[int] | None = None, **others: object
    ) -> Tensor | list[dict[str, Tensor]] | dict[str, Tensor]:
        """Classes of pictures, or the loss.

        Args:
            inputs: (B, 3, H, W), normalised.
            mode: "loss" for a dict of the loss; "predict" for a list of dicts with `scores` (K,), which sum to 1, and
                `label`, the place of the highest; "tensor" for logits (B, K), or features (B, C) without a head.
            label: B places of the true classes.
            others: what a sample has besides.
        """
        if mode == "loss":
            return self._loss(inputs, torch.as_tensor(label, device=inputs.device))
        features = self.extract(inputs)
        if self.head is None:
            return features
        logits = self.head(features)
        if mode == "tensor":
            return logits
        return [{"scores": scores, "label": scores.argmax()} for scores in logits.float().softmax(1)]

    def _loss(self, inputs: Tensor, label: Tensor) -> dict[str, Tensor]:
        targets = F.one_hot(label, self.head.num_classes).float()
        if self.mixup:
            inputs, targets = mix(inputs, targets, self.mixup)
        return self.head.loss(self.extract(inputs), targets)


@MODELS.register_module()
class LinearHead(BaseModule):
    """A linear layer over features, with cross entropy.

    Args:
        num_classes: K.
        in_channels: C of the features.
        label_smoothing: share of each target that is spread evenly over all classes (Rethinking the Inception
            Architecture for Computer Vision, CVPR 2016, arXiv 1512.00567).
        dropout: of the features.
        init_cfg: see mmengine; by default small normal weights.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg or dict(type="Normal", layer="Linear", std=0.01))
        if num_classes < 2:
            raise ValueError(f"LinearHead: num_classes must be at least 2, got {num_classes}")
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:  # (B, C) -> (B, K)
        return self.fc(self.dropout(features))

    def loss(self, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy with targets (B, K) that sum to 1."""
        logits = self(features).float()
        return {"loss_cls": F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)}


def mix(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Mixup of a batch with a shuffled copy of itself, by torch's generator on the CPU.

    Args:
        inputs: (B, ...).
        targets: (B, K).
        alpha: of the Beta distribution.
    """
    concentration = torch.tensor(float(alpha))
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    order = torch.randperm(len(inputs)).to(inputs.device)
    return tuple(share * x + (1 - share) * x[order] for x in (inputs, targets))


def last_width(backbone: nn.Module) -> int:
    """Channels of a backbone's last map, from the attributes that our backbones and mmdet's ResNets have.

    Raises:
        ValueError: it has none.
    """
    if hasattr(backbone, "out_channels"):
        return backbone.out_channels[-1]
    if hasattr(backbone, "feat_dim"):
        return backbone.feat_dim
    raise ValueError(
        f"ImageClassifier: {type(backbone).__name__} does not say how many channels its last map has; give "
        "model.head.in_channels"
    )
