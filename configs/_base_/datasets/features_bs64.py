# --cfg-options data_root=my.npz reads other data: vectors, and labels of 1, 0 and -1 (unknown)
data_root = 'data/features.npz'

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    dataset=dict(type='mmasl.Features', data_root=data_root, split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=512,
    num_workers=0,
    dataset=dict(type='mmasl.Features', data_root=data_root, split='val'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=512,
    num_workers=0,
    dataset=dict(type='mmasl.Features', data_root=data_root, split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='mmasl.MultiLabelMetric')
test_evaluator = val_evaluator
