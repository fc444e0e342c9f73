"""The evidence for detection on photographs: focal loss, ASL and adaptive asymmetry in FCOS, quality losses in GFL.

    python tools/studies/photos_det_ladder.py tune refine grid --data-root fcos=data/coco/ gfl=data/coco/
    python tools/studies/photos_det_ladder.py report

``ladder.py`` says how it runs, and ``photos_ladder.py`` how settings are chosen, except that the boxes of the list
``train_dev`` are complete. A seed changes the order of the data, the weights of neck and head and which boxes are
missing.
"""

import sys

import ladder

_TRAIN, _VAL = 'train_dataloader.dataset.dataset', 'val_dataloader.dataset'
_LISTS = {
    f'{_TRAIN}.ann_file': 'annotations/instances_train_tune.json',
    f'{_VAL}.ann_file': 'annotations/instances_train_dev.json',
    f'{_VAL}.data_prefix.img': 'train2014/',
}

STUDY = ladder.Study(
    name='photos_det',
    config='{regime}_efficientnet-lite0_fpn_{loss}_1xb16_coco14-224px.py',
    loss_key='model.bbox_head.loss_cls',
    regimes={'fcos': 'FCOS', 'gfl': 'GFL'},
    losses={
        'fl': 'focal',
        'asl': 'ASL',
        'asl-ad': 'ASL, adaptive γ₋',
        'qfl': 'quality focal',
        'aql': 'asymmetric quality',
    },
    baselines={'fcos': 'fl', 'gfl': 'qfl'},
    metrics={
        **{name: (f'bbox_{name}', 100.0) for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')},
        'delta_p': ('delta_p', 1.0),
    },
    shown={'mAP_50': 1, 'mAP_75': 1, 'mAP_s': 1, 'mAP_m': 1, 'mAP_l': 1, 'delta_p': 3},
    own=dict(
        gamma='γ',
        beta='β',
        alpha='α',
        gamma_pos='γ₊',
        gamma_neg='γ₋',
        clip='m',
        delta_p_target='Δp target',
        step_size='λ',
    ),
    rates=(2e-3, 4e-3, 1e-3),
    item='boxes',
    missing=(0.0, 0.4),
    lr_key='optim_wrapper.optimizer.lr',
    val_overrides={'fcos': _LISTS, 'gfl': _LISTS},
    data_roots=(f'{_TRAIN}.data_root', f'{_VAL}.data_root', 'test_dataloader.dataset.data_root'),
    refined={
        'fl': [dict(gamma=1.0), dict(alpha=0.5), dict(gamma=1.0, alpha=0.5)],
        'asl': [dict(gamma_neg=2.0), dict(clip=0.0, gamma_neg=2.0), dict(gamma_pos=0.0, gamma_neg=2.0)],
        'asl-ad': [dict(delta_p_target=target) for target in (-0.8, -0.4, -0.2)],
        'qfl': [dict(beta=beta) for beta in (1.0, 1.5, 2.5)],
        'aql': [dict(clip=0.02), dict(gamma_neg=3.0, clip=0.0), dict(gamma_pos=1.0)],
    },
)

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
