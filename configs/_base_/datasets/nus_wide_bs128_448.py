# NUS-WIDE in the authors' 70-30 split: images with at least one of the 81 concepts, about 50.7 k of them for testing
_base_ = './pipelines/asl_448.py'

data_root = 'data/nus_wide'
common = dict(type='mmasl.NUSWIDE', data_root=data_root, ann_file='nus_wid_data.csv')

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(**common, split='train', pipeline=_base_.train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(**common, split='test', pipeline=_base_.test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmasl.MultiLabelMetric', thr=0.8)  # the threshold is that of MS-COCO; mAP does not use it
test_evaluator = val_evaluator
