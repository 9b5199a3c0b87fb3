"""FDConvResNet: a ResNet whose bottlenecks convolve with FDConv; stem and downsampling stay plain.

Frequency Dynamic Convolution for Dense Image Prediction, CVPR 2025, arXiv 2503.18783.
"""

from mmengine.registry import MODELS
from torch import nn

from toolkit.modules.conv.fdconv import FDConv
from toolkit.ops import load_mmdet

load_mmdet()

from mmdet.models.backbones import ResNet  # noqa: E402


@MODELS.register_module()
class FDConvResNet(ResNet):
    """mmdet's ResNet, and its arguments, with FDConv in the blocks.

    A plain ResNet's checkpoint (`torchvision://resnet50`) loads as it is and gives the plain network's outputs at
    first. `frozen_stages` freezes spectra but not the attentions. As published, `norm_eval` holds the batch norm inside
    the attentions still too, at mean 0 and variance 1 when training starts from a plain ResNet.
    """

    def __init__(self, *args, conv_cfg: dict = dict(type="FDConv"), **kwargs):
        super().__init__(*args, conv_cfg=conv_cfg, **kwargs)

    def make_res_layer(self, **kwargs) -> nn.Sequential:
        layer = super().make_res_layer(**kwargs)
        downsample = layer[0].downsample
        for i, conv in enumerate(downsample or ()):
            if isinstance(conv, FDConv):
                downsample[i] = nn.Conv2d(conv.in_channels, conv.out_channels, 1, conv.stride, bias=False)
        return layer

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        for name, parameter in self.named_parameters():
            if ".KSM_" in name or ".FBM." in name:
                parameter.requires_grad = True

    def train(self, mode: bool = True) -> "FDConvResNet":
        super().train(mode)
        return self  # which mmdet's forgets
