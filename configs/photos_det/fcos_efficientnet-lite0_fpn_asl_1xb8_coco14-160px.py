_base_ = './fcos_efficientnet-lite0_fpn_fl_1xb8_coco14-160px.py'

# the values that were best in FCOS on DigitScenes
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='mmasl.AsymmetricLoss',
            use_sigmoid=True,
            gamma_pos=1.0,
            gamma_neg=1.0,
            clip=0.05,
            alpha=0.25,
        )
    )
)
