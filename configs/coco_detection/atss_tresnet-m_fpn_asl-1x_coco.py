_base_ = './atss_tresnet-m_fpn_fl-1x_coco.py'

# the exponents are ours, as in atss_r50_fpn_asl-1x_coco.py
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='mmasl.AsymmetricLoss',
            use_sigmoid=True,
            gamma_pos=1.0,
            gamma_neg=2.0,
            clip=0.0,
            alpha=0.25,
        )
    )
)
