# ResNet-101 and ASL with the values of Table 2. The paper does not say what it changed for this backbone, so nothing is
# changed here. With batch norm after the first convolution, scale and shift of the pixels hardly matter.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=80, to_rgb=True, mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    backbone=dict(
        type='ResNet',
        depth=101,
        out_indices=(3,),
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),  # our choice; not published
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=2048,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    ),
)
