_base_ = './gfl_digitnet_fpn_qfl_1xb16_digitscenes-96px.py'

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
