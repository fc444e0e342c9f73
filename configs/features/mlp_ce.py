_base_ = ['../_base_/datasets/features_bs64.py', '../_base_/schedules/features_onecycle_20e.py']

default_scope = 'mmengine'
default_hooks = dict(logger=dict(type='LoggerHook', interval=100), checkpoint=dict(type='CheckpointHook', interval=20))
model = dict(
    type='mmasl.FeatureClassifier',
    data_root=_base_.data_root,
    hidden=(512,),
    dropout=0.5,
    # cross-entropy; that of MMPretrain would train on unknown labels (-1)
    loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=0.0, clip=0.0),
)
