# TResNet-L (V1) and ASL with the values of Table 2
model = dict(
    type='ImageClassifier',
    # RGB in [0, 1] without mean and std, as in the training of the weights and in the authors' script
    data_preprocessor=dict(num_classes=80, to_rgb=True, mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    # `tresnet_l` trained on ImageNet-1K at 224 px, which the authors used (issue 29 of their repository)
    backbone=dict(type='TIMMBackbone', model_name='tresnet_l.miil_in1k', pretrained=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=2432,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    ),
)
