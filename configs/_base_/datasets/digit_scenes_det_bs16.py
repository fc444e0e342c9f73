# Scenes of 96 pixels with the ten digits in any colour, which are made on the fly and need no files. CocoMetric takes
# the true boxes from `instances`. train_dataloader.dataset.missing_rate=0.4 removes boxes from the training scenes.
pipeline = [
    dict(type='Resize', scale=(96, 96)),  # changes no pixel, but sets the scale_factor that MMDetection's heads need
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
scenes = dict(type='mmasl.DigitScenes', image_size=96, classes='digit', pipeline=pipeline)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # scenes are rendered once and kept in memory, so workers would cost more than they save
    dataset=dict(split='train', num_scenes=1500, missing_unit='box', **scenes),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(split='val', num_scenes=500, test_mode=True, **scenes),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(split='test', num_scenes=1000, test_mode=True, **scenes),
    sampler=dict(type='DefaultSampler', shuffle=False),
)

val_evaluator = dict(type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
