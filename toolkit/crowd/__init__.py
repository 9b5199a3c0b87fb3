"""Crowd counting: how many people a picture shows and where, from maps of density; one paper or idea, one file."""

from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.crowd.model", "CrowdCounter")
lazy(MODELS, "toolkit.crowd.m_sfanet", "MSFANet", "MSFANetQNRF")
lazy(MODELS, "toolkit.crowd.m_segnet", "MSegNet", "MSegNetQNRF")
lazy(MODELS, "toolkit.crowd.losses", "DensityAttentionLoss", "RegionCountLoss", "BayesianLoss")
lazy(DATASETS, "toolkit.crowd.datasets", "CrowdPoints")
lazy(
    TRANSFORMS,
    "toolkit.crowd.transforms",
    "ResizeCrowd",
    "ScaleCrowd",
    "CropCrowd",
    "FlipCrowd",
    "GammaCrowd",
    "GreyCrowd",
    "PackCrowd",
)
lazy(METRICS, "toolkit.crowd.metrics", "CountingErrors", "BoxCountingErrors")
