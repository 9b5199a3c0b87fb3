"""Audio: separation, denoising and echo cancellation in files of any length and live; one paper or idea, one file."""

from mmengine.registry import DATASETS, METRICS, MODELS

from toolkit.registry import lazy

lazy(MODELS, "toolkit.audio.model", "AudioModel")
lazy(MODELS, "toolkit.audio.losses", "SISDRLoss", "CompressedSpectrumLoss")
lazy(MODELS, "toolkit.audio.denoiser", "BandGRU")
lazy(MODELS, "toolkit.audio.frcrn", "FRCRN")
lazy(MODELS, "toolkit.audio.d3net_aec", "D3NetAEC", "DualMaskLoss")
lazy(MODELS, "toolkit.audio.mossformer2", "MossFormer2SS", "MossFormer2SE")
lazy(DATASETS, "toolkit.audio.echo", "EchoDataset")
lazy(DATASETS, "toolkit.audio.datasets", "AlignedAudio", "SpeakerMixtures", "SpeechInNoise")
lazy(METRICS, "toolkit.audio.metrics", "SISDR", "Perceptual", "ERLE")
lazy(METRICS, "toolkit.audio.echo_scores", "EchoScores")
