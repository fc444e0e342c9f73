# "Our training settings were identical to the ones used for MS-COCO" (section 4.1.2)
_base_ = [
    '../_base_/models/resnet101_asl.py',
    '../_base_/datasets/voc07_bs128_448.py',
    '../_base_/schedules/asl_onecycle_41of80e.py',
    '../_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(num_classes=20), head=dict(num_classes=20))
default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP', rule='greater'))
