"""STATE as published for Avenue: 3 layers; frames of 640x360.

The published checkpoint loads as it is. `foreground` are the rules by which boxes were found.
"""

_base_ = ["../_base_/default_runtime.py"]

model = dict(type="STATE", layers=3, epsilon=0.002, raw_weight=0.3, flow_weight=1.0)
foreground = dict(min_score=0.25, min_box_area=1600.0, max_cover=0.6, blur=5, min_difference=18, min_motion_area=1600.0)
