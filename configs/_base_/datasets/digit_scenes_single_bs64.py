# Scenes with one digit and clutter; all classes are equally likely. They are for pre-training, as ImageNet for MS-COCO.
pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='mmasl.DigitScenes', single=True, split='train', num_scenes=16000, pipeline=pipeline),
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
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
