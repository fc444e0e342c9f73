# MS-COCO 2014, or a subset in the same layout, with a longer side of 160 pixels
data_root = 'data/coco/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
common = dict(type='CocoDataset', data_root=data_root)

train_dataloader = dict(
    batch_size=8,
    num_workers=0,  # on a CPU, a training step takes ten times as long as loading its images
    dataset=dict(
        type='mmasl.MissingLabels',
        missing_rate=0.0,
        missing_unit='box',
        dataset=dict(
            **common,
            ann_file='annotations/instances_train2014.json',
            data_prefix=dict(img='train2014/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=4),
            pipeline=train_pipeline,
        ),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
)
test_dataloader = dict(
    batch_size=20,
    num_workers=0,
    dataset=dict(
        **common,
        ann_file='annotations/instances_val2014.json',
        data_prefix=dict(img='val2014/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_dataloader = test_dataloader

# the true boxes come from `instances`, so their sizes are those of boxes and not of outlines
val_evaluator = dict(type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
