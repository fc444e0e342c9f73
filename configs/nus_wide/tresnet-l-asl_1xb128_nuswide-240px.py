_base_ = './tresnet-l-asl_1xb128_nuswide-448px.py'

# 240 px is the size of the images. The published checkpoint has 65.2 % at this size and 64.0 % at 448 px.
resize = dict(type='mmasl.SquishResize', scale=240)
train_pipeline = [_base_.train_pipeline[0], resize, *_base_.train_pipeline[2:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
