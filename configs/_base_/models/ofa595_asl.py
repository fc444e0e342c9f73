# OFA-595 (Fig. 8) with its hidden layer, and ASL with the values of Table 2. The command
# tools/model_converters/ofa595_to_mmasl.py converts the weights.
checkpoint = 'checkpoints/ofa595_in1k.pth'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=80, to_rgb=True, mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    backbone=dict(type='mmasl.OFA595', init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')),
    neck=dict(
        type='LinearNeck',
        in_channels=1152,
        out_channels=1536,
        gap_dim=2,
        norm_cfg=None,
        act_cfg=dict(type='HSwish'),
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='neck'),
    ),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=1536,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    ),
)
