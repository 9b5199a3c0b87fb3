"""STATE as published for ShanghaiTech Campus, one model for all scenes: 5 layers; frames of 856x480.

The published checkpoint loads as it is. `foreground` are the rules by which boxes were found.
"""

_base_ = ["../_base_/default_runtime.py"]

model = dict(type="STATE", layers=5, epsilon=0.005, raw_weight=1.0, flow_weight=1.0)
foreground = dict(min_score=0.5, min_box_area=64.0, max_cover=0.65, blur=5, min_difference=15, min_motion_area=64.0)
