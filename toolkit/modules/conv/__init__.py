"""Convolutions and convolutional blocks: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.modules.conv.ms_block", "MSBlock")
lazy(MODELS, "toolkit.modules.conv.multidilated", "D2Block", "D3Block")
lazy(MODELS, "toolkit.modules.conv.fdconv", "FDConv", "FBM")
lazy(MODELS, "toolkit.modules.conv.inception_dwconv", "InceptionDWConv2d")
lazy(MODELS, "toolkit.modules.conv.pyramid_conv", "PConv")
lazy(MODELS, "toolkit.modules.conv.lsconv", "LSConv")
lazy(MODELS, "toolkit.modules.conv.gnconv", "gnConv")
lazy(MODELS, "toolkit.modules.conv.aspp", "ASPP")
lazy(MODELS, "toolkit.modules.conv.dilated_reparam", "DilatedReparamBlock")
lazy(MODELS, "toolkit.modules.conv.dcls", "Dcls1d", "Dcls2d", "Dcls3d")
lazy(MODELS, "toolkit.modules.conv.tvconv", "TVConv")
lazy(MODELS, "toolkit.modules.conv.arc", "ARC")
lazy(MODELS, "toolkit.modules.conv.sgconv", "SGConv")
lazy(MODELS, "toolkit.modules.conv.weighted_conv", "WConv1d", "WConv2d", "WConv3d")
lazy(MODELS, "toolkit.modules.conv.e2gc", "E2GC")
lazy(MODELS, "toolkit.modules.conv.msa_conv", "MSAConv")
lazy(MODELS, "toolkit.modules.conv.conv_lora", "ConvLoRA1d", "ConvLoRA2d", "ConvLoRA3d")
