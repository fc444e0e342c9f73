_base_ = './ofa595-asl_1xb128_coco14-448px.py'

# class-specific residual attention in place of pooling: ASL is complementary to such heads (section 4.1.1); 6 heads and
# lam 0.5 are the settings of its authors for ResNet-101 on MS-COCO
model = dict(
    neck=None,
    head=dict(
        _delete_=True,
        type='CSRAClsHead',
        num_classes=80,
        in_channels=1152,
        num_heads=6,
        lam=0.5,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
    ),
)
