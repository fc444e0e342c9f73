_base_ = './tresnet-v2-l-asl_in21k-pre-1xb128_coco14-448px.py'

# 640 px (Table 5)
resize = dict(type='mmasl.SquishResize', scale=640)
train_pipeline = [_base_.train_pipeline[0], resize, *_base_.train_pipeline[2:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
