_base_ = [
    '../_base_/models/digitnet.py',
    '../_base_/datasets/digit_scenes_single_bs64.py',
    '../_base_/schedules/digit_scenes_onecycle.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(_delete_=True, type='LinearClsHead', num_classes=80, in_channels=128, loss=dict(type='CrossEntropyLoss'))
)

train_cfg = dict(max_epochs=15, val_interval=15)
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(eta_max=3e-3)
