# Your own pictures: copy this file and set what is above the first blank line; docs/own_pictures.md explains it
data_root = 'data/mine'  # folder with labels.csv and pictures/
num_classes = 10
size = 224  # side of the pictures in pixels
batch_size = 32
epochs = 20
weights = 'torchvision://resnet50'  # torchvision downloads them; None starts from random weights

default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=num_classes, to_rgb=True, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint=weights) if weights else None,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=num_classes,
        in_channels=2048,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    ),
)

load = dict(type='LoadImageFromFile')
resize = dict(type='mmasl.SquishResize', scale=size)  # the whole picture, whatever its shape
data = dict(type='mmasl.CSVMultiLabel', ann_file='labels.csv', data_root=data_root, data_prefix='pictures')
loader = dict(batch_size=batch_size, num_workers=4)
in_order = dict(type='DefaultSampler', shuffle=False)
train_pipeline = [load, resize, dict(type='RandomFlip', prob=0.5, direction='horizontal'), dict(type='PackInputs')]
test_pipeline = [load, resize, dict(type='PackInputs')]
train_dataloader = dict(
    **loader,
    dataset=dict(**data, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(**loader, dataset=dict(**data, split='val', pipeline=test_pipeline), sampler=in_order)
test_dataloader = dict(**loader, dataset=dict(**data, split='test', pipeline=test_pipeline), sampler=in_order)
val_evaluator = dict(type='mmasl.MultiLabelMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4),  # lr is the peak of the cycle
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(type='mmasl.OneCycleLR', by_epoch=True, pct_start=0.2, convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=32)  # the batch for which lr is meant
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='multi-label/mAP', rule='greater'),
    visualization=dict(type='VisualizationHook', enable=False),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
