# the authors' pipeline at 128 pixels, with a flip besides
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmasl.SquishResize', scale=128),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmasl.Cutout', factor=0.5),
    dict(type='mmasl.RandAugment'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmasl.SquishResize', scale=128),
    dict(type='PackInputs'),
]
