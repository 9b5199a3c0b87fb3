"""STATE as published for Avenue: 3 layers, published foreground rules, no smoothing; frames of 640x360.

    ln -s ... data/avenue     (see data/README.md)
    python tools/train.py video/state_avenue

The published checkpoint loads as it is. The published flow is FlowNet2's, the detector Cascade R-CNN: name one of
mmdet's in `detector` to have boxes of its own.
"""

_base_ = ["../_base_/datasets/video_anomaly.py"]

extractor = dict(
    rules=dict(min_score=0.25, min_box_area=1600.0, max_cover=0.6, blur=5, min_difference=18, min_motion_area=1600.0),
    scale_rules=False,
)
model = dict(
    type="ObjectScorer",
    network=dict(type="STATE", layers=3),
    extractor=extractor,
    epsilon=0.002,
    raw_weight=0.3,
    flow_weight=1.0,
    empty_score=-100000.0,
)
train_dataloader = dict(batch_size=128, dataset=dict(type="ObjectPatches", extractor=extractor))

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3, eps=1e-7))
train_cfg = dict(max_epochs=20, val_interval=20)
custom_hooks = [dict(type="StatisticsHook")]
