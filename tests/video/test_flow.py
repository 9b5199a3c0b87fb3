"""Optical flow finds motion that is known."""

import cv2
import numpy as np
import pytest
import torch

from toolkit.errors import UserError
from toolkit.video.flow import build_flow


@pytest.fixture
def pair():
    """A texture and the same texture 2 pixels right and 1 down."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8), (9, 9), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return texture[8:104, 8:136], texture[7:103, 6:134]


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_dis_finds_a_shift(pair, preset):
    flow = build_flow(dict(type="DIS", preset=preset))(*pair)
    assert flow.shape == (96, 128, 2)
    assert flow.dtype == np.float32
    assert np.allclose(np.median(flow, (0, 1)), [2, 1], atol=0.15)


def test_tiny_frames_have_a_flow_too(pair):
    first, second = (frame[40:52, 40:60].copy() for frame in pair)
    assert build_flow(dict(type="DIS"))(first, second).shape == (12, 20, 2)


def test_raft_takes_torchvisions_weights_and_any_size(pair, tmp_path):
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    network = raft_small(weights=None)
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    flow = build_flow(dict(type="RAFT", checkpoint=str(tmp_path / "raft.pth")))
    frames = [frame[:90, :121] for frame in pair]
    assert flow(*frames).shape == (90, 121, 2)
    whole = [np.pad(frame, ((0, 38), (0, 7), (0, 0)), mode="edge") for frame in frames]  # what it is padded to
    assert np.allclose(flow(*whole)[:90, :121], flow(*frames), atol=1e-4)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (dict(type="Farneback"), "flow.type: 'Farneback' is none of DIS, RAFT"),
        (dict(type="DIS", preset="slow"), "flow.preset: 'slow' is none of"),
        (dict(type="DIS", sped="fast"), "flow: .*sped"),
        (dict(type="RAFT", checkpoint="nowhere.pth"), "nowhere.pth does not exist"),
    ],
)
def test_a_wrong_config_is_named(config, words):
    with pytest.raises(UserError, match=words):
        build_flow(config)
