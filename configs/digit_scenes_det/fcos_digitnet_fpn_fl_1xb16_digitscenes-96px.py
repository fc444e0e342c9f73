_base_ = [
    '../_base_/models/fcos_digitnet_fpn.py',
    '../_base_/datasets/digit_scenes_det_bs16.py',
    '../_base_/schedules/digit_scenes_onecycle_8e.py',
    'mmdet::_base_/default_runtime.py',
]

# gamma and alpha were chosen on validation, as those of ASL were (README.md)
model = dict(bbox_head=dict(loss_cls=dict(gamma=1.0)))
param_scheduler = dict(eta_max=2e-2)
