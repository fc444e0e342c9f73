_base_ = [
    '../_base_/models/gfl_efficientnet_lite0_fpn.py',
    '../_base_/datasets/coco14_det_bs8_160.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    'mmdet::_base_/default_runtime.py',
]

auto_scale_lr = dict(base_batch_size=8)
