"""A small COCO set as the configurations for data/bccd, data/raccoon and data/ped_mot15 expect it.

A configuration on top names `data_root`, `metainfo` and `pipeline` of both data sets and `ann_file` of the evaluator.
"""

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CocoDetection",
        ann_file="train.json",
        data_prefix=dict(img="train/"),
        filter_cfg=dict(filter_empty_gt=True),
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CocoDetection", ann_file="val.json", data_prefix=dict(img="val/"), test_mode=True),
)
val_evaluator = dict(type="CocoMetric", metric="bbox", format_only=False)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
