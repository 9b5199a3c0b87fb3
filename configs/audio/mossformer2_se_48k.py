"""MossFormer2_SE_48K as published: full-band speech enhancement, 24 blocks, 55.3 million weights.

python tools/denoise.py talk.wav -o clean.wav --model audio/mossformer2_se_48k --checkpoint published.pt
"""

_base_ = ["../_base_/default_runtime.py"]

model = dict(type="AudioModel", network=dict(type="MossFormer2SE", num_blocks=24, sample_rate=48000))
