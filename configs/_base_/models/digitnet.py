model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=80,
        # DigitScenes yields BGR as mmcv does
        to_rgb=True,
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
    ),
    backbone=dict(type='mmasl.DigitNet'),
    # a fixed p between the mean and the maximum, since a digit fills a small part of a scene
    neck=dict(type='GeneralizedMeanPooling', p=3.0, p_trainable=False),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
)
