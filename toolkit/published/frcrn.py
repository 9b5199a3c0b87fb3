"""FRCRN as ClearerVoice-Studio publishes it: each part of a U-Net lies in the checkpoint under two names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, require

if TYPE_CHECKING:
    from torch import Tensor, nn

# `encoder0.` beside `encoders.0.`, in every list: the same weights again, and the lists count
SECOND_NAME = re.compile(r"unet2?\.[a-z_]+\d+\.")
COMPUTED = ("stft.", "istft.")
PARTS = (
    (re.compile(r"\.fsmn\.fsmn_(re|im)_L([12])\."), lambda found: f".fsmn.{int(found[2]) - 1}.{found[1]}."),
    (re.compile(r"\.fsmn_(re|im)_L1\."), r".\1."),
    (re.compile(r"\.(?:trans)?conv\.t?conv_(re|im)\."), r".conv.\1."),
    (re.compile(r"\.linear\.conv_(re|im)\."), r".linear.\1."),
    (re.compile(r"\.bn\.bn_(re|im)\."), r".norm.\1."),
    (re.compile(r"\.se_layers_(enc|dec)\.(\d+)\.fc_([ri])\."), r".se_\1.\2.gates.\3."),
    (re.compile(r"\.conv1\."), ".memory."),
    (re.compile(r"\.(?:re|r)\."), ".real."),
    (re.compile(r"\.(?:im|i)\."), ".imag."),
)


def bare(key: str) -> str:
    """Without the name under which a wrapper held the network."""
    return key.removeprefix("model.")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of both published U-Nets."""
    return {"unet.linear.conv_re.weight", "unet2.linear.conv_re.weight"} <= {bare(key) for key in keys}


def rename(key: str) -> str | None:
    """The published key in our names; None for second names and for the constants of the spectra."""
    key = bare(key)
    if key.startswith(COMPUTED) or SECOND_NAME.match(key):
        return None
    for pattern, ours in PARTS:
        key = pattern.sub(ours, key)
    return key


def covers(case: Mapping) -> bool:
    """Whether the case is of FRCRN in ClearerVoice-Studio."""
    return case["source_repo"] == "modelscope/ClearerVoice-Studio" and any(
        "/frcrn" in path for path in case.get("source_files", ())
    )


def build(case: Mapping) -> Built:
    """Our network for a case."""
    from toolkit.audio.frcrn import FRCRN

    facts = case["constructor"]
    kernels = facts["enc_kernels"]
    fixed = dict(complex=True, window="square root of periodic Hann", fft_len=facts["win_len"])
    fixed |= {f"{part}_strides": [[2, 1]] * len(kernels) for part in ("enc", "dec")}
    fixed |= {f"{part}_paddings": [[0, 1]] * len(kernels) for part in ("enc", "dec")}
    require(facts, fixed)
    if any(frames != 2 for _, frames in kernels):
        raise NotImplementedCase(f"enc_kernels {kernels}: two frames only")
    network = FRCRN(
        window_size=facts["win_len"],
        hop_size=facts["win_inc"],
        channels=facts["channels"],
        kernels=tuple(bins for bins, _ in kernels),
        order=facts["fsmn_order"],
        reduction=facts["se_reduction"],
    )
    return Built(network, outputs)


def outputs(network: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The raw U-Nets on inputs (B, 1, F, N, 2) of their own, and a given mask on audio (B, T).

    Recorded are the U-Nets times 1e-3, and audio without its two ends, which are under one window only.
    """
    import torch

    found = {}
    for given, unet, name in (("x1", network.unet, "unet1"), ("x2", network.unet2, "unet2")):
        if given in inputs:
            found[name] = torch.stack(unet(inputs[given].unbind(-1)), -1) * 1e-3
    if "audio" in inputs:
        spectra = network.analyse(inputs["audio"])
        mask = torch.view_as_complex(inputs["mask"])[:, 0] if "mask" in inputs else network.mask(spectra)
        masked = mask * spectra
        found["spectrum"] = torch.cat((masked.real, masked.imag), 1)
        ends = network.window_size - network.hop_size
        found["audio"] = network.synthesise(masked)[:, ends:-ends]
    return found


FAMILY = Family("FRCRN", recognises, rename, covers, build)
