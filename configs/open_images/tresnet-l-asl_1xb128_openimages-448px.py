# The settings are those of MS-COCO, except the length: our copy of the paper lacks appendix F, and an epoch has 9
# million images.
_base_ = [
    '../_base_/models/tresnet_l_asl.py',
    '../_base_/datasets/open_images_bs128_448.py',
    '../_base_/schedules/asl_onecycle_41of80e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(num_classes=9605),
    # a linear bottleneck of 512 features; without it, a head of 9,605 classes on 2,432 features has 23 M weights
    neck=dict(_delete_=True, type='LinearNeck', in_channels=2432, out_channels=512, gap_dim=2, norm_cfg=None),
    head=dict(in_channels=512, num_classes=9605),
)

cycle = dict(by_epoch=True, end=5, pct_start=0.2, convert_to_iter_based=True)
param_scheduler = [dict(type='mmasl.OneCycleLR', **cycle), dict(type='mmasl.OneCycleMomentum', **cycle)]
train_cfg = dict(max_epochs=5)

default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP', rule='greater'))
