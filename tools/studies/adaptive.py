"""Adaptive asymmetry on DigitScenes: which settings, does it reach its target, and what is it worth?

    python tools/studies/adaptive.py trials    # settings, on the validation split
    python tools/studies/adaptive.py targets   # gamma_neg and the gap over the iterations, as in Fig. 9
    python tools/studies/adaptive.py steps     # step sizes by batch sizes, on frozen features
    python tools/studies/adaptive.py tail      # one exponent for each class, where classes are rarer
    python tools/studies/adaptive.py report    # tables, JSON and figures, from the cells that are there

The comparison with the fixed losses, by seeds and missing labels, is the row asl-ad of ``digit_scenes_ladder.py``.
Each finished cell is kept as a JSON file: stop whenever you like, the same command goes on with what is left.
"""

import argparse
import functools
import math
import sys
from collections import Counter
from pathlib import Path

import adaptive_report
import ladder
from adaptive_steps import steps_cell
from digit_scenes_ladder import STUDY
from grid import run_grid
from mmengine.logging import MessageHub

from mmasl.datasets import DigitScenes

CELLS = ladder.RESULTS / 'adaptive'
NAIVE = dict(gamma_neg=1.0, step_size=0.05, momentum=0.0)
TRIALS = {  # by what they change in the config
    'the config': {},
    'target 0.1': dict(delta_p_target=0.1),
    'target 0.2': dict(delta_p_target=0.2),
    'start 4, m=0.05': dict(gamma_neg=4.0, clip=0.05),
    'start 1': dict(gamma_neg=1.0),
    'λ=0.01': dict(step_size=0.01),
    'λ=1': dict(step_size=1.0),
    'momentum 0': dict(momentum=0.0),
    'margin adapted': dict(adapt='clip'),
    'both adapted': dict(adapt='both'),
}
TAIL = 1.5  # Zipf's exponent; the other cells have 1
PER_CLASS = dict(per_class=True, num_classes=80)


def trials(args) -> dict[str, dict]:
    """Changes of one setting at a time, and the issue's naive setting in a short training beside a fixed exponent."""
    make = functools.partial(ladder.make_spec, STUDY, 'ft', seed=ladder.TUNING_SEED, split='val')
    cells = {'fixed': make('asl'), 'fixed, γ₋=4, m=0.05': make('asl-t2')}
    cells.update((name, make('asl-ad', criterion=changes)) for name, changes in TRIALS.items())
    cells['3 epochs, fixed'] = make('asl', epochs=3)
    cells['3 epochs, the config'] = make('asl-ad', epochs=3)
    cells['3 epochs, λ=0.05, start 1'] = make('asl-ad', epochs=3, criterion=NAIVE)
    return {f'trial {name}': spec for name, spec in cells.items()}


def targets(args) -> dict[str, dict]:
    make = functools.partial(ladder.make_spec, STUDY, 'ft', 'asl-ad')
    return {
        f'target {target} seed {seed}': make(seed, criterion=dict(delta_p_target=target))
        for seed in range(args.seeds)
        for target in (0.0, 0.1, 0.2, 0.3)
    }


def steps(args) -> dict[str, dict]:
    return {
        f'step {step} batch {batch}': dict(step_size=step, batch_size=batch, iterations=1000, delta_p_target=0.0)
        for batch in (16, 128, 1024)
        for step in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
    }


def tail(args) -> dict[str, dict]:
    rows = {
        'fixed': ('asl', {}),
        'global': ('asl-ad', {}),
        'per class': ('asl-ad', PER_CLASS),
        'per class, λ=0.01': ('asl-ad', PER_CLASS | dict(step_size=0.01)),
        'per class, γ₋ in [1, 3]': ('asl-ad', PER_CLASS | dict(gamma_neg_bounds=(1.0, 3.0))),
    }
    return {
        f'tail {name} seed {seed}': dict(
            ladder.make_spec(STUDY, 'ft', loss, seed, criterion=changes), tail_exponent=TAIL
        )
        for seed in range(args.seeds)
        for name, (loss, changes) in rows.items()
    }


def train_cell(spec: dict) -> dict:
    """The metrics of one cell, with the course of its asymmetry and, on a longer tail, each class's AP."""
    overrides = {'custom_hooks.0.interval': 1} if spec['loss'] == 'asl-ad' else {}
    if 'tail_exponent' in spec:
        overrides['test_evaluator.per_class'] = True
        for split in ('train', 'test'):
            overrides[f'{split}_dataloader.dataset.tail_exponent'] = spec['tail_exponent']
    metrics = ladder.train_cell(STUDY, spec, **overrides)
    result = {name: round(metrics[name], 4) for name in STUDY.metrics}
    scalars = MessageHub.get_current_instance().log_scalars
    if 'train/gamma_neg' in scalars:
        result['course'] = {
            name: [round(float(value), 5) for value in scalars[f'train/{name}'].data[0]]
            for name in ('gamma_neg', 'gamma_neg_min', 'gamma_neg_max', 'clip', 'delta_p')
            if f'train/{name}' in scalars
        }
    if 'tail_exponent' in spec:
        precision = {name[3:]: value for name, value in metrics.items() if name.startswith('AP_')}
        result['AP'] = {name: round(value, 2) for name, value in precision.items() if not math.isnan(value)}
        result['train_labels'] = count_labels(spec)
    return result


def count_labels(spec: dict) -> dict[str, int]:
    """The number of training labels of each class."""
    dataset = DigitScenes(num_scenes=spec['scenes'], seed=spec['seed'], tail_exponent=spec['tail_exponent'])
    counts = Counter(label for index in range(len(dataset)) for label in dataset.get_cat_ids(index))
    return {name: counts[label] for label, name in enumerate(dataset.metainfo['classes'])}


STAGES = {'trials': trials, 'targets': targets, 'steps': steps, 'tail': tail}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=[*STAGES, 'report'])
    parser.add_argument('--seeds', type=int, default=1, help='targets, tail: number of seeds')
    parser.add_argument('--workers', type=int, default=2, help='single-thread processes at a time')
    parser.add_argument('--cells', type=Path, default=CELLS, help='folder of the finished cells')
    parser.add_argument('--out', type=Path, default=ladder.ROOT / 'docs', help='report: folder of adaptive.md')
    args = parser.parse_args(argv)
    if args.stage == 'report':
        adaptive_report.write_report(STUDY, args.cells, args.out)
        return 0
    function = steps_cell if args.stage == 'steps' else train_cell
    log = ladder.ROOT / 'work_dirs' / 'adaptive.log'
    describe = adaptive_report.describe
    return run_grid(STAGES[args.stage](args), args.cells, function, describe, workers=args.workers, log=log) and 1


if __name__ == '__main__':
    sys.exit(main())
