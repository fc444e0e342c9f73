"""The studies of ``ladder.py``: which losses they compare, on which configs, and which settings they try."""

import dataclasses

from ladder_cells import Study

_KEPT = ('mAP', 'CP', 'CR', 'CF1', 'OP', 'OR', 'OF1', 'pt_pos', 'pt_neg', 'delta_p')
DIGIT_SCENES = Study(
    name='digit_scenes',
    title='multi-label losses on DigitScenes, with and without missing labels',
    config='digitnet-{loss}_{regime}-1xb16_digitscenes-48px.py',
    loss_key='model.head.loss',
    regimes={'ft': 'Fine-tuned from single-digit weights', 'scratch': 'From random weights'},
    losses={
        'ce': 'cross-entropy',
        'fl': 'focal, γ=2',
        'fl-lw': 'focal + linear weighting',
        'af': 'asymmetric focusing',
        'pm': 'probability margin',
        'asl': 'both (ASL)',
        'asl-t2': 'ASL, values of Table 2',
        'asl-gp1': 'ASL, γ₊=1',
        'asl-ad': 'ASL, adaptive γ₋',
    },
    baselines={'ft': 'ce', 'scratch': 'ce'},
    metrics={name: (name, 1.0) for name in _KEPT},
    shown={'CF1': 1, 'OF1': 1, 'pt_pos': 3, 'pt_neg': 3, 'delta_p': 3},
    plain=('ce', 'fl'),
)

_SINGLE = ('macro_f1', 'accuracy', 'f1_few', 'f1_medium', 'f1_many')
DIGIT_SCENES_SINGLE = Study(
    name='digit_scenes_single',
    title='single-label losses on long-tailed DigitScenes, softmax and sigmoid (appendix G)',
    config='digitnet-{regime}-{loss}_ft-1xb32_digitscenes-tail-48px.py',
    loss_key='model.head.loss',
    regimes={'softmax': 'Softmax probabilities', 'sigmoid': 'Sigmoid probabilities'},
    losses={
        'ce': 'cross-entropy',
        'ls': 'label smoothing',
        'fl': 'focal, γ=2',
        'asl': 'ASL',
    },
    baselines={'softmax': 'ce', 'sigmoid': 'ce'},
    metrics={name: (name, 1.0) for name in _SINGLE},
    shown=dict.fromkeys(_SINGLE[1:], 1),
    plain=('ce',),
    rates=(3e-3, 1e-2),
    missing=(0.0,),
)

DIGIT_SCENES_DET = Study(
    name='digit_scenes_det',
    title='focal loss and ASL in FCOS, quality losses in GFL, on DigitScenes, with and without missing boxes',
    config='{regime}_digitnet_fpn_{loss}_1xb16_digitscenes-96px.py',
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
    metrics={name: (f'bbox_{name}', 100.0) for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m')},
    shown={'mAP_50': 1, 'mAP_75': 1, 'mAP_s': 1, 'mAP_m': 1},
    rates=(1e-2, 3e-2),
    item='boxes',
)

# With photographs, settings are chosen on the training images of the lists train_tune and train_dev. The boxes of
# train_dev are complete.
_PHOTOGRAPHS = dict(rates=(2e-3, 4e-3, 1e-3), missing=(0.0, 0.4), lr_key='optim_wrapper.optimizer.lr')
_TRAIN, _DEV, _VAL = 'train_dataloader.dataset.dataset', 'val_dataloader.dataset.dataset', 'val_dataloader.dataset'

PHOTOS = dataclasses.replace(
    DIGIT_SCENES,
    **_PHOTOGRAPHS,
    name='photos',
    title='multi-label losses on Pascal VOC 2007 and MS-COCO, the whole network fine-tuned',
    config='efficientnet-lite0-{loss}_1xb16_{regime}-128px.py',
    regimes={'voc07': 'Pascal VOC 2007', 'coco14': 'MS-COCO'},
    baselines={'voc07': 'ce', 'coco14': 'ce'},
    metrics=DIGIT_SCENES.metrics
    | {name: (name, 1.0) for name in ('train_mAP', 'train_delta_p', 'train_pt_pos', 'gamma_neg')},
    shown={'CF1': 1, 'OF1': 1, 'delta_p': 3, 'train_mAP': 1},
    plain=('ce',),
    val_missing_key='val_dataloader.dataset.missing_rate',
    val_overrides={
        'voc07': {
            f'{_TRAIN}.image_set_path': 'ImageSets/Main/train_tune.txt',
            f'{_DEV}.split': 'train',
            f'{_DEV}.image_set_path': 'ImageSets/Main/train_dev.txt',
            f'{_DEV}.test_mode': False,  # MissingLabels does not change test data
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

_LISTS = {
    f'{_TRAIN}.ann_file': 'annotations/instances_train_tune.json',
    f'{_VAL}.ann_file': 'annotations/instances_train_dev.json',
    f'{_VAL}.data_prefix.img': 'train2014/',
}
PHOTOS_DET = dataclasses.replace(
    DIGIT_SCENES_DET,
    **_PHOTOGRAPHS,
    name='photos_det',
    title='the losses of digit_scenes_det on MS-COCO',
    config='{regime}_efficientnet-lite0_fpn_{loss}_1xb8_coco14-160px.py',
    metrics=DIGIT_SCENES_DET.metrics
    | {'mAP_l': ('bbox_mAP_l', 100.0)}
    | {name: (name, 1.0) for name in ('delta_p', 'gamma_neg')},
    shown=DIGIT_SCENES_DET.shown | {'mAP_l': 1, 'delta_p': 3},
    val_overrides={'fcos': _LISTS, 'gfl': _LISTS},
    data_roots=(f'{_TRAIN}.data_root', f'{_VAL}.data_root', 'test_dataloader.dataset.data_root'),
    refined={
        'fl': [dict(gamma=1.0), dict(alpha=0.5), dict(gamma=1.0, alpha=0.5)],
        'asl': [dict(gamma_neg=2.0), dict(clip=0.0, gamma_neg=2.0), dict(gamma_pos=0.0, gamma_neg=2.0)],
        'asl-ad': [dict(delta_p_target=target) for target in (-0.8, -0.4, -0.2)],
        'qfl': [dict(beta=beta) for beta in (1.0, 1.5)],
        'aql': [dict(clip=0.02), dict(gamma_pos=1.0)],
    },
)

STUDIES = {study.name: study for study in (DIGIT_SCENES, DIGIT_SCENES_SINGLE, DIGIT_SCENES_DET, PHOTOS, PHOTOS_DET)}
