_base_ = [
    '../_base_/models/gfl_efficientnet_lite0_fpn.py',
    '../_base_/datasets/coco14_det_bs16_224.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    'mmdet::_base_/default_runtime.py',
]
