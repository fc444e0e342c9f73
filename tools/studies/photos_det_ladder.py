"""Focal loss, ASL and adaptive asymmetry in FCOS, and quality losses in GFL, on MS-COCO.

    python tools/studies/photos_det_ladder.py tune refine grid --data-root fcos=data/coco/ gfl=data/coco/
    python tools/studies/photos_det_ladder.py report

``ladder.py`` explains the stages, and ``digit_scenes_det_ladder.py`` has the losses. Settings are chosen as in
``photos_ladder.py``, except that the boxes of the list ``train_dev`` are complete. A seed changes the order of the
data, the weights of neck and head, and the missing boxes.
"""

import dataclasses
import sys

import digit_scenes_det_ladder
import ladder
from photos_ladder import COMMON

_TRAIN, _VAL = 'train_dataloader.dataset.dataset', 'val_dataloader.dataset'
_LISTS = {
    f'{_TRAIN}.ann_file': 'annotations/instances_train_tune.json',
    f'{_VAL}.ann_file': 'annotations/instances_train_dev.json',
    f'{_VAL}.data_prefix.img': 'train2014/',
}

STUDY = dataclasses.replace(
    digit_scenes_det_ladder.STUDY,
    **COMMON,
    name='photos_det',
    config='{regime}_efficientnet-lite0_fpn_{loss}_1xb16_coco14-224px.py',
    metrics=digit_scenes_det_ladder.STUDY.metrics | {'mAP_l': ('bbox_mAP_l', 100.0), 'delta_p': ('delta_p', 1.0)},
    shown=digit_scenes_det_ladder.STUDY.shown | {'mAP_l': 1, 'delta_p': 3},
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
