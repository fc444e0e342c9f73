_base_ = [
    '../_base_/models/efficientnet_lite0_ce.py',
    '../_base_/datasets/coco14_bs16_128.py',
    '../_base_/schedules/photos_onecycle_6e.py',
    '../_base_/default_runtime.py',
]
