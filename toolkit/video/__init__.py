"""Video: how odd each moment of a video is, after learning from normal footage; one paper or idea, one file."""

from mmengine.registry import MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.video.state", "STATE")
