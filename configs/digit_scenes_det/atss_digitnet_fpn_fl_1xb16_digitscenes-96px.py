_base_ = [
    '../_base_/models/atss_digitnet_fpn.py',
    '../_base_/datasets/digit_scenes_det_bs16.py',
    '../_base_/schedules/digit_scenes_onecycle_8e.py',
    'mmdet::_base_/default_runtime.py',
]
