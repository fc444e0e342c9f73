# Herbarium 2020 with one species per image. The paper's 77.6 is of the challenge's private test set, whose labels are
# not public. We hold out a part of the training images instead.
_base_ = './pipelines/asl_448.py'

data_root = 'data/herbarium2020'
common = dict(
    type='mmasl.Herbarium2020',
    data_root=data_root,
    ann_file='nybg2020/train/metadata.json',
    data_prefix='nybg2020/train',
)

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
    dataset=dict(**common, split='val', pipeline=_base_.test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

# macro-F1, the measure of the challenge
val_evaluator = dict(type='SingleLabelMetric', items=('f1-score',), average='macro')
test_evaluator = val_evaluator
