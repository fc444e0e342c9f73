# Pascal VOC 2007 with `train` (2,501 images) for training and `val` (2,510) for evaluation. For the protocol of the
# paper (trainval, test) set `split` of the three data sets.
_base_ = './pipelines/photos_128.py'

data_root = 'data/VOCdevkit/VOC2007'
common = dict(type='mmasl.VOCMultiLabel', data_root=data_root, difficult='ignored')

train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # on a CPU, a training step takes ten times as long as loading its images
    dataset=dict(
        type='mmasl.MissingLabels',
        missing_rate=0.0,
        dataset=dict(**common, split='train', pipeline=_base_.train_pipeline),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(**common, split='val', pipeline=_base_.test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
# if settings are chosen on held-out training images, missing_rate removes the same share of their labels
val_dataloader = dict(test_dataloader, dataset=dict(type='mmasl.MissingLabels', dataset=test_dataloader['dataset']))

val_evaluator = dict(type='mmasl.MultiLabelMetric')
test_evaluator = val_evaluator
