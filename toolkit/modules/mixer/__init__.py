"""Token mixers: one paper, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.modules.mixer.aff", "AFFFilter", "AFFBlock")
