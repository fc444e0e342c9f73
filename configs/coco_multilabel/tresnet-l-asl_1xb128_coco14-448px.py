_base_ = [
    '../_base_/models/tresnet_l_asl.py',
    '../_base_/datasets/coco14_bs128_448.py',
    '../_base_/schedules/asl_onecycle_41of80e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP', rule='greater'))
