# one digit a scene; classes as long-tailed in training as in digit_scenes_bs16.py, equally likely where it is evaluated
pipeline = [dict(type='PackInputs')]
train_scenes = dict(type='mmasl.DigitScenes', mean_labels=1.0, split='train', num_scenes=4000, pipeline=pipeline)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=train_scenes,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(
        type='mmasl.DigitScenes', single=True, split='val', num_scenes=2000, pipeline=pipeline, test_mode=True
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(
        type='mmasl.DigitScenes', single=True, split='test', num_scenes=4000, pipeline=pipeline, test_mode=True
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

# groups of classes by their training images: 37 have fewer than 20, 8 have 100 or more
val_evaluator = dict(type='mmasl.FrequencyGroupMetric', train_dataset=train_scenes)
test_evaluator = val_evaluator
