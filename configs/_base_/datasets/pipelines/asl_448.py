# the authors' script, in its order; pixels are scaled to [0, 1] by the data preprocessor, without mean and std
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmasl.SquishResize', scale=448),
    dict(type='mmasl.Cutout', factor=0.5),
    dict(type='mmasl.RandAugment'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmasl.SquishResize', scale=448),
    dict(type='PackInputs'),
]
