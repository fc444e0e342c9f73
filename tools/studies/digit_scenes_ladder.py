"""Every loss of the ladder on DigitScenes, with several seeds, with and without missing labels.

    python tools/studies/digit_scenes_ladder.py tune     # tries learning rates on the validation split
    python tools/studies/digit_scenes_ladder.py grid     # trains all cells, for the test split
    python tools/studies/digit_scenes_ladder.py report   # writes tables and figure from the finished cells

``ladder.py`` explains the stages. A seed changes the training scenes, the order of the data and the weights that are
not loaded. The single-digit weights and the evaluated scenes are the same for all cells.
"""

import sys

import ladder
from ladder_cells import Study

_KEPT = ('mAP', 'CP', 'CR', 'CF1', 'OP', 'OR', 'OF1', 'pt_pos', 'pt_neg', 'delta_p')

STUDY = Study(
    name='digit_scenes',
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

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
