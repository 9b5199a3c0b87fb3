"""MossFormer2_SS_16K as published: two speakers, 24 blocks, 55.7 million weights.

    python tools/separate.py talk.wav -o parted.wav --model audio/mossformer2_ss_16k --checkpoint published.pt

Other published models differ by `num_speakers=3`, by `sample_rate=8000`, or, for WHAMR!, by `multiply=False`.
"""

_base_ = ["../_base_/default_runtime.py"]

model = dict(type="AudioModel", network=dict(type="MossFormer2SS", num_speakers=2, num_blocks=24, sample_rate=16000))
