"""MossFormer2 as published in ClearerVoice-Studio and, for 8 kHz, in the repository of its first author.

The latter's checkpoints are three files; one with all of them loads here, under the names of the whole model:

    parts = {name: torch.load(f"{name}.ckpt") for name in ("encoder", "masknet", "decoder")}
    torch.save({f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}, "whole.pt")
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase

if TYPE_CHECKING:
    from torch import Tensor, nn

    from toolkit.audio.windows import Windows

REPOSITORIES = ("modelscope/ClearerVoice-Studio", "alibabasglab/MossFormer2")
WRAPPERS = re.compile(r"^(module\.|model\.)+")
# Published keys in our names, rule after rule.
RULES = tuple(
    (re.compile(published), ours)
    for published, ours in (
        (r"^(enc|encoder)\.conv1d\.", "encoder."),
        (r"^dec\.", "decoder."),
        (r"^(masknet|mossformer)\.", "mask_net."),
        (r"^mask_net\.conv1d_encoder\.", "mask_net.entry."),
        (r"^mask_net\.pos_enc\.scale$", "mask_net.position_scale"),
        (r"^mask_net\.prelu\.", "mask_net.slope."),
        (r"^mask_net\.conv1d_out\.", "mask_net.branches."),
        (r"^mask_net\.output\.0\.", "mask_net.value."),
        (r"^mask_net\.output_gate\.0\.", "mask_net.gate."),
        (r"^mask_net\.conv1_decoder\.", "mask_net.mask."),
        (r"^mask_net\.(dual_mdl\.0|mdl)\.", "mask_net."),
        (r"^mask_net\.intra_norm\.", "mask_net.last_norm."),
        (r"^mask_net\.intra_mdl\.(mdl\.norm\.)?norm\.", "mask_net.block_norm."),
        (r"^mask_net\.intra_mdl\.(mdl\.flashT|mossformerM)\.layers\.(\d+)\.", r"mask_net.blocks.\2.attention."),
        (r"^mask_net\.intra_mdl\.(mdl\.flashT|mossformerM)\.fsmn\.(\d+)\.", r"mask_net.blocks.\2.recurrence."),
        (r"(^|\.)(to_hidden|to_qk|to_out|to_u|to_v)\.mdl\.0\.", r"\1\2.norm."),
        (r"(^|\.)(to_hidden|to_qk|to_out|to_u|to_v)\.mdl\.1\.", r"\1\2.linear."),
        (r"(^|\.)(to_hidden|to_qk|to_out|to_u|to_v)\.mdl\.3\.sequential\.1\.conv\.", r"\1\2.conv."),
        (r"(^|\.)qk_offset_scale\.", r"\1"),
        (r"(^|\.)gated_fsmn\.fsmn\.conv1\.", r"\1fsmn.memory."),
        (r"(^|recurrence\.)conv1\.0\.", r"\1entry."),
        (r"(^|recurrence\.)conv1\.1\.", r"\1slope."),
        (r"(^|recurrence\.)norm1\.", r"\1entry_norm."),
        (r"(^|recurrence\.)norm2\.", r"\1exit_norm."),
        (r"(^|recurrence\.)conv2\.", r"\1exit."),
        (r"(^|\.)gated_fsmn\.(to_u|to_v|fsmn)\.", r"\1\2."),
    )
)
MEMORY_LAYER = re.compile(r"fsmn\.conv\.(conv|norm|prelu)(\d+)\.")
MEMORY_PARTS = {"conv": "convs", "norm": "norms", "prelu": "slopes"}
COMPUTED = ("rotary_pos_emb.freqs", "pos_enc.inv_freq")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a whole published model or of one of its blocks."""
    units = (".mdl.3.sequential.1.conv.weight", "pos_enc.scale")
    return any(key.endswith(units) for key in keys)


def rename(key: str) -> str | None:
    """The published key in our names."""
    if key.endswith(COMPUTED):
        return None
    key = WRAPPERS.sub("", key)
    for published, ours in RULES:
        key = published.sub(ours, key)
    layer = MEMORY_LAYER.search(key)
    if layer:
        part, number = MEMORY_PARTS[layer[1]], int(layer[2]) - 1
        key = key.replace(layer[0], f"fsmn.memory.{part}.{number}.")
    return key


def covers(case: Mapping) -> bool:
    """Whether the case is of MossFormer2; one of the two repositories has other models too."""
    return case["source_repo"] in REPOSITORIES and "mossformer2" in case["name"].lower()


FIXED = {
    "causal": (False,),
    "shift_tokens": (True,),
    "encoder_bias": (False,),
    "encoder_activation": ("ReLU", "relu"),
    "use_global_pos_enc": (True,),
    "skip_around_intra": (True,),
    "conv_bias": (False,),
    "rotary_theta": (10000,),
    "max_wav_value": (32768,),
}


def _check(facts: Mapping) -> None:
    """Raise NotImplementedCase where a fact has a value that no published model has."""
    for key, known in FIXED.items():
        if facts.get(key, known[0]) not in known:
            raise NotImplementedCase(f"{key} {facts[key]!r}")


def attention_arguments(facts: Mapping) -> dict:
    """Facts of an attention block -> arguments of GatedAttention without `dim`."""
    _check(facts)
    names = {"query_key_dim": "query_key_dim", "group_size": "group_size", "expansion_factor": "expansion"}
    return {ours: facts[published] for published, ours in names.items() if published in facts}


def memory_arguments(facts: Mapping) -> dict:
    """Facts of an FSMN block -> arguments of GatedFSMN without `dim`."""
    _check(facts)
    names = {"inner_channels": "inner_dim", "lorder": "order"}
    found = {ours: facts[published] for published, ours in names.items() if published in facts}
    dilations = facts.get("dilations")
    depth = facts.get("depth", len(dilations) if dilations else 0)
    if dilations and list(dilations) != [2**i for i in range(depth)]:
        raise NotImplementedCase(f"dilations {dilations}")
    if facts.get("conv_groups", facts["inner_channels"]) != facts["inner_channels"]:
        raise NotImplementedCase(f"conv_groups {facts['conv_groups']} other than inner_channels")
    return found | {"depth": depth}


def build(case: Mapping) -> Built:
    """Our part, mask net or whole model for a case."""
    facts, inputs = case["constructor"], {spec["name"] for spec in case["inputs"]}
    _check(facts)
    if "quad_q" in inputs:
        return build_attention(facts)
    if "out_channels_final" in facts:
        return build_enhancement(facts, whole="audio" in inputs)
    if "num_spks" in facts:
        return build_separation(facts, case)
    return build_recurrence(facts) if "inner_channels" in facts else build_gated_attention(facts)


def build_attention(facts: Mapping) -> Built:
    """The joint attention alone, on values and gates of any width."""
    import torch
    from torch import nn

    from toolkit.audio.mossformer2 import joint_attention, rotate, rotation

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        heads = [inputs[name] for name in ("quad_q", "lin_q", "quad_k", "lin_k")]
        turn = rotation(heads[0].shape[1], min(facts["rotary_dim"], heads[0].shape[2]))
        values = torch.cat((inputs["v"], inputs["u"]), -1)
        turned = [rotate(head, turn) for head in heads]
        size = facts["group_size"]
        attended = torch.cat(list(joint_attention(*turned, values.split(size, 1), size)), 1)
        return dict(zip(("att_v", "att_u"), attended.split(inputs["v"].shape[-1], -1), strict=True))

    return Built(nn.Identity(), forward)


def build_gated_attention(facts: Mapping) -> Built:
    """One attention block."""
    from toolkit.audio.mossformer2 import GatedAttention

    model = GatedAttention(facts["dim"], **attention_arguments(facts))
    return Built(model, lambda model, inputs: {"y": model(inputs["x"])})


def build_recurrence(facts: Mapping) -> Built:
    """One recurrence block, and its FSMN on the first channels of the input."""
    from toolkit.audio.mossformer2 import GatedFSMN

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        x = inputs["x"]
        return {"y": model(x), "memory": model.fsmn(x[..., : facts["inner_channels"]])}

    return Built(GatedFSMN(facts["dim"], **memory_arguments(facts)), forward)


def build_separation(facts: Mapping, case: Mapping) -> Built:
    """The separation model, whole or in the published windows."""
    from toolkit.audio.mossformer2 import MossFormer2SS

    names = {
        "num_spks": "num_speakers",
        "num_mossformer_layer": "num_blocks",
        "mossformer_sequence_dim": "dim",
        "encoder_embedding_dim": "embed_dim",
        "encoder_kernel_size": "kernel_size",
        "encoder_stride": "stride",
    }
    model = MossFormer2SS(
        **{ours: facts[published] for published, ours in names.items() if published in facts},
        attention=attention_arguments(facts.get("attention", {})),
        memory=memory_arguments(facts["fsmn"]) if "fsmn" in facts else None,
        multiply="whamr" not in f"{case['name']} {facts}".lower(),
        sample_rate=facts.get("sampling_rate", facts.get("sample_rate", 16000)),
    )

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        audio = inputs["audio"]
        if "decode_window_seconds" in facts:
            from toolkit.audio.published_windows import at_mixture_level, in_windows

            estimates = in_windows(model, audio, published_windows(facts), model.sample_rate)
            estimates = at_mixture_level(estimates, audio)[0]
        else:
            estimates = model(audio).transpose(0, 1)
        speakers = {f"speaker{i + 1}": estimate for i, estimate in enumerate(estimates)}
        if "decode_window_seconds" in facts:
            return speakers
        return {**speakers, "speakers": estimates.permute(1, 2, 0)}

    return Built(model, forward)


def published_windows(facts: Mapping) -> "Windows":
    """The long-audio rule of a case: the stride is 3/4 of the window."""
    from toolkit.audio.windows import Windows

    window = facts["decode_window_seconds"]
    one_pass = facts.get("one_time_decode_length_seconds", window)
    return Windows(one_pass, window, 0.75 * window, 0.125 * window)


def build_enhancement(facts: Mapping, whole: bool) -> Built:
    """The enhancement model: from audio, in the published windows, or its mask net on given features."""
    from torch import nn

    from toolkit.audio.mossformer2 import FULL_SCALE, MaskNet, MossFormer2SE

    blocks = dict(
        num_blocks=facts["num_blocks"],
        dim=facts["out_channels"],
        attention=attention_arguments(facts.get("attention", {})),
        memory={"depth": 0} | (memory_arguments(facts["fsmn"]) if "fsmn" in facts else {}),
    )
    if not whole:
        net = MaskNet(facts["in_channels"], facts["out_channels_final"], facts["num_spks"], **blocks)
        return Built(
            nn.ModuleDict({"mask_net": net}), lambda model, inputs: {"mask": next(model["mask_net"](inputs["x"], 1))}
        )
    if facts.get("fft_len", facts["win_len"]) != facts["win_len"] or not facts["win_type"].startswith("hamming"):
        raise NotImplementedCase(f"fft_len {facts['fft_len']}, win_type {facts['win_type']}")
    model = MossFormer2SE(
        **blocks,
        num_mels=facts["num_mels"],
        window_size=facts["win_len"],
        hop_size=facts["win_inc"],
        dither=facts["dither"],
        sample_rate=facts["sampling_rate"],
    )

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        from toolkit.audio.published_windows import in_windows

        audio = inputs["audio"]
        features = model.features(audio * FULL_SCALE)
        enhanced = in_windows(
            lambda part: model.enhance(part)[:, None],
            audio,
            published_windows(facts),
            model.sample_rate,
            pad_one_pass=False,
        )
        return {
            "features": features,
            "mask": model.mask(features),
            "audio": enhanced[0, 0, : audio.shape[-1]],
        }

    return Built(model, forward)


FAMILY = Family("MossFormer2", recognises, rename, covers, build)
