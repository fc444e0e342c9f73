_base_ = [
    '../_base_/models/digitnet.py',
    '../_base_/datasets/digit_scenes_bs16.py',
    '../_base_/schedules/digit_scenes_onecycle.py',
    '../_base_/default_runtime.py',
]

# made by tools/misc/pretrain_digit_net.py
checkpoint = '{{ fileDirname }}/digitnet_digitscenes-single-48px.pth'
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')))
