"""The evidence on photographs: the losses on Pascal VOC 2007 and MS-COCO, the whole network fine-tuned.

    python tools/studies/photos_ladder.py tune refine grid --data-root voc07=data/VOCdevkit/VOC2007 coco14=data/coco
    python tools/studies/photos_ladder.py report

``ladder.py`` says how it runs. Settings are chosen on the lists ``train_tune`` and ``train_dev``, parts of the training
images, whose labels miss as many as those of the training: ``tune`` tries learning rates, ``refine`` at the best of
them the loss's own parameters, or more rates for a loss that has none to tune. Then ``grid`` trains on all training
images, tests on others, and evaluates the training images too, which says how far a model has memorised them. A seed
changes the order of the data, the weights of the head and which labels are missing.
"""

import sys

import ladder

_KEPT = ('mAP', 'CP', 'CR', 'CF1', 'OP', 'OR', 'OF1', 'pt_pos', 'pt_neg', 'delta_p', 'train_mAP', 'train_delta_p')
_TRAIN, _DEV = 'train_dataloader.dataset.dataset', 'val_dataloader.dataset.dataset'

STUDY = ladder.Study(
    name='photos',
    config='efficientnet-lite0-{loss}_1xb16_{regime}-128px.py',
    loss_key='model.head.loss',
    regimes={'voc07': 'Pascal VOC 2007', 'coco14': 'MS-COCO'},
    losses={
        'ce': 'cross-entropy',
        'fl': 'focal, γ=2',
        'fl-lw': 'focal + linear weighting',
        'af': 'asymmetric focusing',
        'pm': 'probability margin',
        'asl': 'both (ASL)',
        'asl-gp1': 'ASL, γ₊=1',
        'asl-ad': 'ASL, adaptive γ₋',
    },
    baselines={'voc07': 'ce', 'coco14': 'ce'},
    metrics={name: (name, 1.0) for name in _KEPT},
    shown={'CF1': 1, 'OF1': 1, 'delta_p': 3, 'train_mAP': 1},
    own=dict(gamma_pos='γ₊', gamma_neg='γ₋', clip='m', delta_p_target='Δp target', step_size='λ'),
    plain=('ce',),
    rates=(2e-3, 4e-3, 1e-3),
    missing=(0.0, 0.4),
    lr_key='optim_wrapper.optimizer.lr',
    val_missing_key='val_dataloader.dataset.missing_rate',
    val_overrides={
        'voc07': {
            f'{_TRAIN}.image_set_path': 'ImageSets/Main/train_tune.txt',
            f'{_DEV}.split': 'train',
            f'{_DEV}.image_set_path': 'ImageSets/Main/train_dev.txt',
            f'{_DEV}.test_mode': False,  # MissingLabels leaves test data alone
        },
        'coco14': {
            f'{_TRAIN}.ann_file': 'annotations/instances_train_tune.json',
            f'{_DEV}.ann_file': 'annotations/instances_train_dev.json',
            f'{_DEV}.data_prefix': 'train2014',
            f'{_DEV}.test_mode': False,
        },
    },
    data_roots=(f'{_TRAIN}.data_root', f'{_DEV}.data_root', 'test_dataloader.dataset.data_root'),
    refined={
        'ce': [dict(lr=lr) for lr in (5e-4, 1.4e-3, 2.8e-3)],
        'fl': [dict(gamma_pos=g, gamma_neg=g) for g in (0.5, 1.0, 3.0)],
        'asl': [
            dict(gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
            dict(gamma_pos=1.0, gamma_neg=2.0, clip=0.2),
            dict(gamma_pos=1.0, gamma_neg=2.0, clip=0.3),
        ],
        'asl-ad': [dict(lr=lr) for lr in (5e-4, 1.4e-3, 2.8e-3)],
    },
    evaluate_training=True,
)

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
