_base_ = [
    '../_base_/models/digitnet.py',
    '../_base_/datasets/digit_scenes_tail_bs32.py',
    '../_base_/schedules/digit_scenes_onecycle.py',
    '../_base_/default_runtime.py',
]

# tools/misc/pretrain_digit_net.py made it with all classes equally likely; the classifier starts from random weights
checkpoint = '{{ fileDirname }}/../digit_scenes/digitnet_digitscenes-single-48px.pth'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')),
    head=dict(_delete_=True, type='LinearClsHead', num_classes=80, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
train_cfg = dict(max_epochs=4, val_interval=4)
# tuned for each loss; two sigmoid losses have 1e-2 in their configs
param_scheduler = dict(eta_max=3e-3)
auto_scale_lr = dict(base_batch_size=32)
