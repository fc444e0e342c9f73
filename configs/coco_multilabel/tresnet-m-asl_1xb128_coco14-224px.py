_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# TResNet-M at 224 px, the default of the authors' script
resize = dict(type='mmasl.SquishResize', scale=224)
train_pipeline = [_base_.train_pipeline[0], resize, *_base_.train_pipeline[2:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(backbone=dict(model_name='tresnet_m.miil_in1k'), head=dict(in_channels=2048))
