_base_ = 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'

# The exponents are ours, not tuned on MS-COCO. loss_weight is that of the focal loss; the matching cost
# (train_cfg.assigner) stays.
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
            loss_weight=2.0,
        )
    )
)
