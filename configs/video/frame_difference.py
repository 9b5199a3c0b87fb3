"""Difference to the frame before: the baseline, which learns nothing.

    python tools/score_video.py fit normal.mp4 -o difference.pth --config video/frame_difference

`fit` only takes how high normal frames score.
"""

_base_ = ["../_base_/default_runtime.py"]

model = dict(type="FrameDifference", smooth_seconds=0.36)
