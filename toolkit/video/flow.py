"""Optical flow between frames: OpenCV's DIS, or torchvision's RAFT with weights of its own.

Flow is (H, W, 2) float32, x and y in pixels of the frame per frame: a point at (x, y) is at (x, y) + flow in the next.
"""

import threading
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from toolkit.errors import UserError

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
MIN_SIDE = 32  # pixels, below which DIS has no pyramid to search


class DISFlow:
    """Fast Optical Flow using Dense Inverse Search, ECCV 2016, arXiv 1603.03590. May be called by several threads.

    Args:
        preset: "ultrafast", "fast" or "medium", which is also the order of exactness.

    Raises:
        UserError: another preset.
    """

    def __init__(self, preset: Literal["ultrafast", "fast", "medium"] = "fast"):
        if preset not in PRESETS:
            raise UserError(f"flow.preset: {preset!r} is none of {', '.join(PRESETS)}")
        self._preset, self._local = PRESETS[preset], threading.local()

    def __call__(self, frame: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Flow (H, W, 2) from `frame` to `following`, (H, W, 3) uint8 BGR each."""
        if not hasattr(self._local, "dis"):
            self._local.dis = cv2.DISOpticalFlow_create(self._preset)
        height, width = frame.shape[:2]
        grey = [cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) for one in (frame, following)]
        down, right = max(0, MIN_SIDE - height), max(0, MIN_SIDE - width)
        if down or right:
            grey = [cv2.copyMakeBorder(one, 0, down, 0, right, cv2.BORDER_REPLICATE) for one in grey]
        return self._local.dis.calc(*grey, None)[:height, :width]


class RAFTFlow:
    """RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020, arXiv 2003.12039, torchvision's.

    Args:
        checkpoint: torchvision's weights, a file such as raft_small_C_T_V2-01064c6d.pth.
        small: whether they are of `raft_small`, else of `raft_large`.
        device: where it computes.

    Raises:
        UserError: see `toolkit.checkpoint.load_into`.
    """

    def __init__(self, checkpoint: str | Path, small: bool = True, device: str = "cpu"):
        from torchvision.models.optical_flow import raft_large, raft_small

        from toolkit.checkpoint import load_into

        self._network = (raft_small if small else raft_large)(weights=None).eval().to(device).requires_grad_(False)
        load_into(self._network, checkpoint)
        self._device, self._lock = device, threading.Lock()

    def __call__(self, frame: np.ndarray, following: np.ndarray) -> np.ndarray:
        """As `DISFlow`; frames are padded to what RAFT needs, at least 128 pixels a side."""
        import torch
        from torch.nn.functional import pad

        height, width = frame.shape[:2]
        down, right = (max(128, -(-side // 8) * 8) - side for side in (height, width))
        pair = [torch.from_numpy(one[..., ::-1].copy()).permute(2, 0, 1)[None] for one in (frame, following)]
        pair = [pad(one.to(self._device).float() / 127.5 - 1, (0, right, 0, down), mode="replicate") for one in pair]
        with self._lock, torch.inference_mode():
            flow = self._network(*pair)[-1][0, :, :height, :width]
        return flow.permute(1, 2, 0).cpu().numpy()


KINDS = {"DIS": DISFlow, "RAFT": RAFTFlow}


def build_flow(config: dict) -> DISFlow | RAFTFlow:
    """The flow of a config: dict(type="DIS", preset=...) or dict(type="RAFT", checkpoint=..., small=...).

    Raises:
        UserError: another type, or arguments that it does not have.
    """
    rest = dict(config)
    kind = rest.pop("type", None)
    if kind not in KINDS:
        raise UserError(f"flow.type: {kind!r} is none of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**rest)
    except TypeError as error:
        raise UserError(f"flow: {error}") from error
