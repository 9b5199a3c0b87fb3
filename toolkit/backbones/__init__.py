"""Backbones: one family, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.backbones.yolo_ms", "YOLOMSBackbone", "YOLOv8MSBackbone")
lazy(MODELS, "toolkit.backbones.fdconv_resnet", "FDConvResNet")
lazy(MODELS, "toolkit.backbones.sfm", "SFMBackbone")
lazy(MODELS, "toolkit.backbones.timm", "TimmBackbone")
lazy(MODELS, "toolkit.backbones.convnext", "ConvNeXt")
lazy(MODELS, "toolkit.backbones.inceptionnext", "InceptionNeXt")
lazy(MODELS, "toolkit.backbones.poolformer", "PoolFormer")
lazy(MODELS, "toolkit.backbones.lowformer", "LowFormer")
lazy(MODELS, "toolkit.backbones.crossvit", "CrossViT")
lazy(MODELS, "toolkit.backbones.hornet", "HorNet")
lazy(MODELS, "toolkit.backbones.vgg", "VGG16BN", "VGG19")
lazy(MODELS, "toolkit.backbones.slab", "SLABSwin", "SLABDeiT")
lazy(MODELS, "toolkit.backbones.unireplknet", "UniRepLKNet")
lazy(MODELS, "toolkit.backbones.lsnet", "LSNet")
lazy(MODELS, "toolkit.backbones.affnet", "AFFNet")
lazy(MODELS, "toolkit.backbones.spartan", "SpaRTAN")
lazy(MODELS, "toolkit.backbones.smt", "SMT")
lazy(MODELS, "toolkit.backbones.efficientmod", "EfficientMod")
lazy(MODELS, "toolkit.backbones.glnet", "GLNet")
lazy(MODELS, "toolkit.backbones.cvt", "CvT")
lazy(MODELS, "toolkit.backbones.deepmad", "DeepMAD")
lazy(MODELS, "toolkit.backbones.arc_resnet", "ARCResNet")
lazy(MODELS, "toolkit.backbones.eca_resnet", "ECAResNet")
lazy(MODELS, "toolkit.backbones.ninformer", "NiNformer")
lazy(MODELS, "toolkit.backbones.dhvt", "DHVT")
lazy(MODELS, "toolkit.backbones.vitcomer", "ViTCoMer")
