"""Digits on clutter, made when training begins: 2048 pictures to train on, 1024 of other handwriting to validate on.

They have 32x32 pixels and are enlarged to 64, so that networks for large pictures keep a map of 2x2 at the end.
"""

_base_ = ["../classification.py"]

train_pipeline = [dict(type="RandomResizedCrop", size=64, area=(0.6, 1.0)), dict(type="PackClass")]
test_pipeline = [dict(type="Resize", scale=(64, 64)), dict(type="PackClass")]

train_dataloader = dict(dataset=dict(type="DigitClassification", part="train", pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type="DigitClassification", part="val", pipeline=test_pipeline))
test_dataloader = val_dataloader
