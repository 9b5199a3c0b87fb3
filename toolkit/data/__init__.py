"""Pictures and data sets: reading, making, converting and checking them."""

from mmengine.registry import TRANSFORMS

from toolkit.registry import lazy

lazy(TRANSFORMS, "toolkit.data.loading", "LoadImage")
