"""Pictures with head points: one JSON for each split, `train.json` and `val.json`, pictures in folders beside them."""

train_dataloader = dict(
    num_workers=0,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CrowdPoints", ann_file="train.json", data_prefix=dict(img="train/")),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CrowdPoints", ann_file="val.json", data_prefix=dict(img="val/")),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CountingErrors")
test_evaluator = val_evaluator
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
