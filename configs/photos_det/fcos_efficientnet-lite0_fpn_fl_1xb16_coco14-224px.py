_base_ = [
    '../_base_/models/fcos_efficientnet_lite0_fpn.py',
    '../_base_/datasets/coco14_det_bs16_224.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    'mmdet::_base_/default_runtime.py',
]

# logs the gap in training, by which the target of adaptive asymmetry is chosen
custom_hooks = _base_.custom_hooks + [dict(type='mmasl.ProbabilityGapHook', interval=20)]
