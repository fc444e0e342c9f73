# We use the settings of MS-COCO, because our copy of the paper lacks appendix E.
_base_ = [
    '../_base_/models/tresnet_l_asl.py',
    '../_base_/datasets/nus_wide_bs128_448.py',
    '../_base_/schedules/asl_onecycle_41of80e.py',
    '../_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(num_classes=81), head=dict(num_classes=81))
default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP', rule='greater'))
