# Open Images V6, human-verified image labels (our copy of the paper lacks appendix F; the authors' later work
# has 9,605 trainable classes)
_base_ = './pipelines/asl_448.py'

data_root = 'data/open_images'
common = dict(type='mmasl.OpenImages', data_root=data_root)

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        **common,
        ann_file='oidv6-train-annotations-human-imagelabels.csv',
        data_prefix='train',
        unverified='negative',  # our choice, since the loss can discard wrong negatives (section 2.5)
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
        ann_file='test-annotations-human-imagelabels.csv',
        data_prefix='test',
        unverified='ignored',  # AP only over the images that are annotated for a class
        pipeline=_base_.test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

# the threshold is that of MS-COCO, and mAP does not use it; without top-3, as most labels of an image are unknown
val_evaluator = dict(type='mmasl.MultiLabelMetric', thr=0.8, topk=None)
test_evaluator = val_evaluator
