_base_ = [
    '../_base_/models/digitnet.py',
    '../_base_/datasets/digit_scenes_tail_bs32.py',
    '../_base_/schedules/digit_scenes_onecycle.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(_delete_=True, type='LinearClsHead', num_classes=80, in_channels=128, loss=dict(type='CrossEntropyLoss'))
)
train_cfg = dict(max_epochs=6, val_interval=6)
# the rate of the pre-training on single digits, not tuned for any of the losses
param_scheduler = dict(eta_max=3e-3)
auto_scale_lr = dict(base_batch_size=32)
