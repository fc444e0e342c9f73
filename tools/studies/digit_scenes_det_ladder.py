"""Focal loss and ASL in FCOS, and quality losses in GFL, on DigitScenes, with and without missing boxes.

    python tools/studies/digit_scenes_det_ladder.py tune     # tries learning rates on the validation split
    python tools/studies/digit_scenes_det_ladder.py grid     # trains all cells, for the test split
    python tools/studies/digit_scenes_det_ladder.py report   # writes tables and figure from the finished cells

``ladder.py`` explains the stages. A seed changes the training scenes, their missing boxes, the order of the data and
the weights of neck and head. The weights of the backbone and the evaluated scenes are the same for all cells.
"""

import sys

import ladder
from ladder_cells import Study

STUDY = Study(
    name='digit_scenes_det',
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

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
