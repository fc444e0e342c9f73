_base_ = [
    '../_base_/models/efficientnet_lite0_ce.py',
    '../_base_/datasets/voc07_bs16_128.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    '../_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(num_classes=20), head=dict(num_classes=20))
