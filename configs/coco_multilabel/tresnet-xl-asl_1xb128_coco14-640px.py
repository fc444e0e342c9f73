_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# TResNet-XL at 640 px, a published checkpoint
resize = dict(type='mmasl.SquishResize', scale=640)
train_pipeline = [_base_.train_pipeline[0], resize, *_base_.train_pipeline[2:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(backbone=dict(model_name='tresnet_xl.miil_in1k'), head=dict(in_channels=2656))
