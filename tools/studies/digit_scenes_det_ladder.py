"""The evidence for detection: focal loss and ASL in FCOS, quality losses in GFL, with and without missing boxes.

    python tools/studies/digit_scenes_det_ladder.py tune     # on the validation split
    python tools/studies/digit_scenes_det_ladder.py grid     # all cells, on the test split
    python tools/studies/digit_scenes_det_ladder.py report   # tables, JSON and figure, from the cells that are there

``ladder.py`` says how it runs. A seed changes the training scenes, which of their boxes are missing, the order of the
data and the weights of neck and head; the backbone's weights and the evaluated scenes are the same for all.
"""

import sys

import ladder

STUDY = ladder.Study(
    name='digit_scenes_det',
    config='{regime}_digitnet_fpn_{loss}_1xb16_digitscenes-96px.py',
    loss_key='model.bbox_head.loss_cls',
    regimes={'fcos': 'FCOS', 'gfl': 'GFL'},
    losses={
        'fl': 'focal',
        'asl': 'ASL',
        'qfl': 'quality focal',
        'aql': 'asymmetric quality',
    },
    baselines={'fcos': 'fl', 'gfl': 'qfl'},
    metrics={name: (f'bbox_{name}', 100.0) for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m')},
    shown={'mAP_50': 1, 'mAP_75': 1, 'mAP_s': 1, 'mAP_m': 1},
    own=dict(gamma='γ', beta='β', alpha='α', gamma_pos='γ₊', gamma_neg='γ₋', clip='m'),
    rates=(1e-2, 3e-2),
    item='boxes',
)

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
