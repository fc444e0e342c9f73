# Pascal VOC 2007 as in section 4.1.2: 5,011 images of trainval, 4,952 of test, 20 classes
_base_ = './pipelines/asl_448.py'

data_root = 'data/VOCdevkit/VOC2007'
# A class with difficult objects only is ignored, as in the challenge. This is our choice; the paper does not say.
common = dict(type='mmasl.VOCMultiLabel', data_root=data_root, difficult='ignored')

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(**common, split='trainval', pipeline=_base_.train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(**common, split='test', pipeline=_base_.test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmasl.MultiLabelMetric', thr=0.8)  # the threshold is that of MS-COCO; mAP does not use it
test_evaluator = val_evaluator
