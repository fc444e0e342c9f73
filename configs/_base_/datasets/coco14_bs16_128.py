# MS-COCO 2014 as published (82,081 and 40,137 images with an annotation), or a subset in the same layout
_base_ = './pipelines/photos_128.py'

data_root = 'data/coco'
common = dict(type='mmasl.CocoMultiLabel', data_root=data_root)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # on a CPU, a training step takes ten times as long as loading its images
    dataset=dict(
        type='mmasl.MissingLabels',
        missing_rate=0.0,
        dataset=dict(
            **common,
            ann_file='annotations/instances_train2014.json',
            data_prefix='train2014',
            pipeline=_base_.train_pipeline,
        ),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
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
# if settings are chosen on held-out training images, missing_rate removes the same share of their labels
val_dataloader = dict(test_dataloader, dataset=dict(type='mmasl.MissingLabels', dataset=test_dataloader['dataset']))

val_evaluator = dict(type='mmasl.MultiLabelMetric')
test_evaluator = val_evaluator
