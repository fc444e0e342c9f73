_base_ = './gfl_efficientnet-lite0_fpn_qfl_1xb8_coco14-160px.py'

# quality focal loss with a margin
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='mmasl.AsymmetricQualityLoss',
            use_sigmoid=True,
            gamma_pos=2.0,
            gamma_neg=2.0,
            clip=0.05,
        )
    )
)
