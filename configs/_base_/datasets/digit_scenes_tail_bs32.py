# One digit per scene. The classes have the tail of digit_scenes_bs16.py in training and are balanced in evaluation.
_base_ = './digit_scenes_single_bs64.py'

pipeline = [dict(type='PackInputs')]
train_scenes = dict(type='mmasl.DigitScenes', mean_labels=1.0, split='train', num_scenes=4000, pipeline=pipeline)

train_dataloader = dict(batch_size=32, dataset=dict(_delete_=True, **train_scenes))
test_dataloader = dict(dataset=dict(split='test', num_scenes=4000))

# groups by training images per class: 37 classes have fewer than 20 images, and 8 have at least 100
val_evaluator = dict(_delete_=True, type='mmasl.FrequencyGroupMetric', train_dataset=train_scenes)
test_evaluator = val_evaluator
