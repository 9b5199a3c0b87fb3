"""Video: how odd each moment of a video is, after learning from normal footage; one paper or idea, one file."""

from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.video.state", "STATE")
lazy(MODELS, "toolkit.video.object_scorer", "ObjectScorer")
lazy(DATASETS, "toolkit.video.object_scorer", "ObjectPatches")
lazy(HOOKS, "toolkit.video.object_scorer", "StatisticsHook")
lazy(DATASETS, "toolkit.video.evaluation", "LabelledClips")
lazy(METRICS, "toolkit.video.evaluation", "FrameAUC")
lazy(MODELS, "toolkit.video.frame_difference", "FrameDifference")
lazy(MODELS, "toolkit.video.ctd2gan", "CTD2GAN")
lazy(DATASETS, "toolkit.video.frame_clips", "FrameClips")
