"""FRCRN_SE_16K, the denoiser of ClearerVoice-Studio: 13.1 million parameters, 16 kHz, not causal.

    python tools/denoise.py noisy.wav -o clean.wav --model audio/frcrn_se_16k --checkpoint last_best_checkpoint.pt

The data, losses and epochs of `denoiser_16k`, to train it or to go on from the published weights; its size asks for a
GPU.
"""

_base_ = ["denoiser_16k.py"]

model = dict(network=dict(_delete_=True, type="FRCRN"))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
