"""STATE as published for ShanghaiTech Campus, one model for all scenes: 5 layers; frames of 856x480.

    ln -s ... data/shanghaitech     (see data/README.md)
    python tools/train.py video/state_shanghaitech

The published checkpoint loads as it is. See state_avenue.py for flow and detector.
"""

_base_ = ["state_avenue.py"]

data_root = "data/shanghaitech/"

extractor = dict(
    rules=dict(min_score=0.5, min_box_area=64.0, max_cover=0.65, blur=5, min_difference=15, min_motion_area=64.0),
    scale_rules=False,
)
model = dict(network=dict(layers=5), extractor=extractor, epsilon=0.005, raw_weight=1.0, flow_weight=1.0, max_side=856)
train_dataloader = dict(dataset=dict(sources=[data_root], extractor=extractor))
val_dataloader = dict(dataset=dict(root=data_root))
test_dataloader = val_dataloader
