# MS-COCO as in section 4.1.1: 82,081 and 40,137 images that have at least one annotation, 80 classes
_base_ = './pipelines/asl_448.py'

data_root = 'data/coco'
common = dict(type='mmasl.CocoMultiLabel', data_root=data_root)

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        **common,
        ann_file='annotations/instances_train2014.json',
        data_prefix='train2014',
        pipeline=_base_.train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        **common,
        ann_file='annotations/instances_val2014.json',
        data_prefix='val2014',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

# the threshold of Table 7 is not published; 0.8 is the default of the authors' script
val_evaluator = dict(type='mmasl.MultiLabelMetric', thr=0.8)
test_evaluator = val_evaluator
