_base_ = 'mmdet::atss/atss_r50_fpn_1x_coco.py'

# The paper's exponents for detection are not known. These are ours: the first step from focal loss (2, 2) in
# docs/detection.md. They are not tuned on MS-COCO.
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
