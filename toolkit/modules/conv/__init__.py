"""Convolutions and convolutional blocks: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.modules.conv.ms_block", "MSBlock")
lazy(MODELS, "toolkit.modules.conv.multidilated", "D2Block", "D3Block")
lazy(MODELS, "toolkit.modules.conv.pyramid_conv", "PConv")
