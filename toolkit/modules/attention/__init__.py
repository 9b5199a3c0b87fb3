"""Attention modules: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.modules.attention.se", "SE")
lazy(MODELS, "toolkit.modules.attention.slab", "SimplifiedLinearAttention")
lazy(MODELS, "toolkit.modules.attention.context_aware", "ContextAwareModule")
lazy(MODELS, "toolkit.modules.attention.scse", "cSE", "sSE", "scSE")
lazy(MODELS, "toolkit.modules.attention.eca", "ECA")
lazy(MODELS, "toolkit.modules.attention.ela", "ELA")
lazy(MODELS, "toolkit.modules.attention.ulsam", "ULSAM")
lazy(MODELS, "toolkit.modules.attention.dcca", "DCCA", "GDCCA")
lazy(MODELS, "toolkit.modules.attention.rcmha", "RCMHA")
