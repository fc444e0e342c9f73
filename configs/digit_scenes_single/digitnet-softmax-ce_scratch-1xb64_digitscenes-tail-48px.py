_base_ = [
    '../_base_/models/digitnet.py',
    '../_base_/datasets/digit_scenes_tail_bs64.py',
    '../_base_/schedules/digit_scenes_onecycle.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(_delete_=True, type='LinearClsHead', num_classes=80, in_channels=128, loss=dict(type='CrossEntropyLoss'))
)
auto_scale_lr = dict(base_batch_size=64)
