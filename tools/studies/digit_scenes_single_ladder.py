"""Single-label losses on long-tailed DigitScenes: softmax and sigmoid, each from cross-entropy to ASL (appendix G).

    python tools/studies/digit_scenes_single_ladder.py tune    # tries learning rates on the validation split
    python tools/studies/digit_scenes_single_ladder.py grid    # trains all cells, for the test split
    python tools/studies/digit_scenes_single_ladder.py report  # writes tables and figure from the finished cells

``ladder.py`` explains the stages. A seed changes the training scenes, the order of the data and the weights.
"""

import sys

import ladder
from ladder_cells import Study

_KEPT = ('macro_f1', 'accuracy', 'f1_few', 'f1_medium', 'f1_many')

STUDY = Study(
    name='digit_scenes_single',
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
    metrics={name: (name, 1.0) for name in _KEPT},
    shown=dict.fromkeys(_KEPT[1:], 1),
    plain=('ce',),
    rates=(3e-3, 1e-2),
    missing=(0.0,),
)

if __name__ == '__main__':
    sys.exit(ladder.main(STUDY, __doc__))
