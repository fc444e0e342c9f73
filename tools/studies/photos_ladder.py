"""Every loss of the ladder on Pascal VOC 2007 and MS-COCO, where the whole network is fine-tuned.

    python tools/studies/photos_ladder.py tune refine grid --data-root voc07=data/VOCdevkit/VOC2007 coco14=data/coco
    python tools/studies/photos_ladder.py report

``ladder.py`` explains the stages, and ``digit_scenes_ladder.py`` has the losses and measures. Settings are chosen on
the lists ``train_tune`` and ``train_dev``, parts of the training images with the same share of missing labels.
``tune`` tries learning rates. At the best rate, ``refine`` tries the parameters of the loss, or more rates for a loss
without parameters to tune. ``grid`` trains on all training images and evaluates the test images. It evaluates the
training images too, which shows how far a model has memorised them. A seed changes the order of the data, the weights
of the head and the missing labels.
"""

import dataclasses
import sys

import digit_scenes_ladder
import ladder

# All studies of photographs have these in common.
COMMON = dict(rates=(2e-3, 4e-3, 1e-3), missing=(0.0, 0.4), lr_key='optim_wrapper.optimizer.lr')
_TRAIN, _DEV = 'train_dataloader.dataset.dataset', 'val_dataloader.dataset.dataset'

STUDY = dataclasses.replace(
    digit_scenes_ladder.STUDY,
    **COMMON,
    name='photos',
    config='efficientnet-lite0-{loss}_1xb16_{regime}-128px.py',
    regimes={'voc07': 'Pascal VOC 2007', 'coco14': 'MS-COCO'},
    baselines={'voc07': 'ce', 'coco14': 'ce'},
    metrics=digit_scenes_ladder.STUDY.metrics
    | {name: (name, 1.0) for name in ('train_mAP', 'train_delta_p', 'gamma_neg')},
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

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
