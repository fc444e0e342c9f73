# one digit a scene; classes as long-tailed in training as in digit_scenes_bs16.py, equally likely where it is evaluated
_base_ = './digit_scenes_single_bs64.py'

pipeline = [dict(type='PackInputs')]
train_scenes = dict(type='mmasl.DigitScenes', mean_labels=1.0, split='train', num_scenes=4000, pipeline=pipeline)

train_dataloader = dict(batch_size=32, dataset=dict(_delete_=True, **train_scenes))
test_dataloader = dict(dataset=dict(split='test', num_scenes=4000))

# groups of classes by their training images: 37 have fewer than 20, 8 have 100 or more
val_evaluator = dict(_delete_=True, type='mmasl.FrequencyGroupMetric', train_dataset=train_scenes)
test_evaluator = val_evaluator
