# scenes of 48 pixels with 80 classes and 2.9 labels per scene; they are made on the fly and need no files
pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # scenes are rendered once and kept in memory, so workers would cost more than they save
    dataset=dict(type='mmasl.DigitScenes', split='train', num_scenes=4000, pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(type='mmasl.DigitScenes', split='val', num_scenes=2000, pipeline=pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(type='mmasl.DigitScenes', split='test', num_scenes=4000, pipeline=pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

val_evaluator = dict(type='mmasl.MultiLabelMetric')
test_evaluator = val_evaluator
