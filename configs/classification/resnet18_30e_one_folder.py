"""As resnet18_30e_folders, where the folders of the classes are not divided: every fifth picture is for validation.

python tools/train.py classification/resnet18_30e_one_folder --data-root my_set --cfg-options model.head.num_classes=5
"""

_base_ = ["resnet18_30e_folders.py"]

train_dataloader = dict(dataset=dict(folder="", part="train"))
val_dataloader = dict(dataset=dict(folder="", part="val"))
test_dataloader = val_dataloader
