_base_ = [
    '../_base_/models/fcos_efficientnet_lite0_fpn.py',
    '../_base_/datasets/coco14_det_bs8_160.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    'mmdet::_base_/default_runtime.py',
]

# logs the gap in training, by which the target of adaptive asymmetry is chosen
custom_hooks = _base_.custom_hooks + [dict(type='mmasl.ProbabilityGapHook', interval=20)]

auto_scale_lr = dict(base_batch_size=8)
