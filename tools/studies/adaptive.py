"""Adaptive asymmetry on DigitScenes: which settings, does it reach its target, and what is it worth?

    python tools/studies/adaptive.py trials    # settings, on the validation split
    python tools/studies/adaptive.py targets   # gamma_neg and the gap over the iterations, as in Fig. 9
    python tools/studies/adaptive.py steps     # step sizes by batch sizes, on frozen features
    python tools/studies/adaptive.py tail      # one exponent for each class, where classes are rarer
    python tools/studies/adaptive.py report    # gathers the finished cells, and writes tables and figures

The comparison with the fixed losses, by seeds and missing labels, is the row asl-ad of ``digit_scenes_ladder.py``.
Each finished cell is kept as a JSON file: stop whenever you like, the same command goes on with what is left.
"""

import argparse
import functools
import math
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean

import ladder
import report
from adaptive_steps import WINDOW, settling, steps_cell, thin
from digit_scenes_ladder import STUDY
from experiment import ROOT, run_trial
from grid import gather, read_cells, run_grid
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmasl.analysis.report import plus_minus, pyplot, spread, table
from mmasl.datasets import DigitScenes

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
FIXED, ADAPTIVE = 'asl', 'asl-ad'  # rows of the ladder
GROUPS = ('frequent', 'medium', 'rare')
ENDS = ['γ₋, last fifth', 'distance of Δp, last fifth', 'settled at iteration']


def trials(args) -> dict[str, dict]:
    """Changes of one setting at a time, and the issue's naive setting in a short training beside a fixed exponent."""
    make = functools.partial(ladder.make_spec, STUDY, 'ft', seed=ladder.TUNING_SEED, split='val', stage='trials')
    specs = [
        make('asl', row='fixed'),
        make('asl-t2', row='fixed, γ₋=4, m=0.05'),
        *(make('asl-ad', criterion=changes, row=name) for name, changes in TRIALS.items()),
        make('asl', epochs=3, row='3 epochs, fixed'),
        make('asl-ad', epochs=3, row='3 epochs, the config'),
        make('asl-ad', epochs=3, criterion=NAIVE, row='3 epochs, λ=0.05, start 1'),
    ]
    return {f'trial_{number:02d}': spec for number, spec in enumerate(specs)}


def targets(args) -> dict[str, dict]:
    make = functools.partial(ladder.make_spec, STUDY, 'ft', 'asl-ad', stage='targets')
    return {
        f'target{target}_seed{seed}': make(seed, criterion=dict(delta_p_target=target))
        for seed in range(args.seeds)
        for target in (0.0, 0.1, 0.2, 0.3)
    }


def steps(args) -> dict[str, dict]:
    common = dict(stage='steps', iterations=1000, delta_p_target=0.0)
    return {
        f'step{step}_batch{batch}': dict(common, step_size=step, batch_size=batch)
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
    overrides = {f'{split}_dataloader.dataset.tail_exponent': TAIL for split in ('train', 'test')}
    make = functools.partial(ladder.make_spec, STUDY, 'ft', stage='tail', overrides=overrides)
    return {
        f'tail_{number}_seed{seed}': make(loss, seed, criterion=changes, row=name)
        for seed in range(args.seeds)
        for number, (name, (loss, changes)) in enumerate(rows.items())
    }


STAGES = dict(trials=trials, targets=targets, steps=steps, tail=tail)


def train_cell(spec: dict) -> dict:
    """The metrics of one cell, how its asymmetry went and, on a longer tail, each class's AP."""
    tailed = spec['stage'] == 'tail'
    overrides = {'custom_hooks.0.interval': 1} if spec['loss'] == 'asl-ad' else {}
    metrics = run_trial(spec, **overrides | ({'test_evaluator.per_class': True} if tailed else {}))
    result = {name: metrics[name] for name in STUDY.metrics}
    scalars = MessageHub.get_current_instance().log_scalars
    course = {
        name: [round(float(value), 5) for value in scalars[f'train/{name}'].data[0]]
        for name in ('gamma_neg', 'gamma_neg_min', 'gamma_neg_max', 'clip', 'delta_p')
        if f'train/{name}' in scalars
    }
    if 'gamma_neg' in course:
        target = spec['criterion']['delta_p_target']
        result['ends'] = settling(course['gamma_neg'], course['delta_p'], target)
        result['course'] = thin(course)
    if tailed:
        precision = {name[3:]: value for name, value in metrics.items() if name.startswith('AP_')}
        result['AP'] = {name: round(value, 2) for name, value in precision.items() if not math.isnan(value)}
        result['train_labels'] = count_labels(spec)
    return result


def count_labels(spec: dict) -> dict[str, int]:
    """The number of training labels of each class."""
    cfg = Config.fromfile(ROOT / spec['config'])
    dataset = DigitScenes(num_scenes=cfg.train_dataloader.dataset.num_scenes, tail_exponent=TAIL, seed=spec['seed'])
    counts = Counter(label for index in range(len(dataset)) for label in dataset.get_cat_ids(index))
    return {name: counts[label] for label, name in enumerate(dataset.metainfo['classes'])}


def describe(result: dict) -> str:
    return f'mAP {result["mAP"]:.2f}'


def write_report(args: argparse.Namespace) -> None:
    """Gather the cells, and write the tables into the page and the figures beside the others."""
    tables, cells = {}, gather(args.cells, args.results)
    for stage, write in dict(trials=_trials, targets=_targets, steps=_steps, tail=_tail).items():
        mine = [cell for cell in cells if cell['spec']['stage'] == stage]
        if mine:
            tables[stage] = write(mine, args)
    tables['fixed'] = _against_fixed(args.ladder)
    report.write_page(args.page, tables, 'tools/studies/adaptive.py report')


def _against_fixed(file: Path) -> str:
    """The adaptive row of the ladder beside the fixed one it starts from, differences paired by seed."""
    cells = read_cells(ROOT / 'work_dirs' / 'studies' / STUDY.name, file)
    kinds = [('test', 'ft', loss) for loss in (FIXED, ADAPTIVE)]
    mine = [cell for cell in cells if tuple(cell['spec'][key] for key in ('split', 'regime', 'loss')) in kinds]
    rows, digits, body = ladder.by_row(STUDY, mine), dict(mAP=1, CF1=1, OF1=1, delta_p=3), []
    for (regime, missing, loss), group in rows.items():
        paired = report.difference_text(group, rows.get((regime, missing, FIXED), {}), 'mAP')
        shown = [plus_minus(report.values(group, key), number) for key, number in digits.items()]
        label = f'{100 * missing:.0f} % missing, {STUDY.losses[loss]} ({len(group)})'
        body.append([label, shown[0], paired, *shown[1:]])
    return table(['test scenes (seeds)', 'mAP, %', '− fixed (better in)', 'CF1', 'OF1', 'Δp'], body)


def _ends(row: dict | None) -> list[str]:
    """The cells of a table that say how a training ended."""
    if row is None:
        return ['', '', '']
    settled = '—' if row['settled'] is None else f'{row["settled"]:,}'
    return [f'{row["gamma_neg"]:.2f} ± {row["wobble"]:.2f}', f'{row["error"]:.3f}', settled]


def _trials(cells, args):
    body = [
        [cell['spec']['row'], f'{cell["result"]["mAP"]:.1f}', *_ends(cell['result'].get('ends'))]
        for cell in sorted(cells, key=lambda cell: cell['spec']['row'])
    ]
    return table(['setting', 'validation mAP, %', *ENDS], body)


def _targets(cells, args):
    by_target, body = {}, []
    for cell in sorted(cells, key=lambda c: (c['spec']['criterion']['delta_p_target'], c['spec']['seed'])):
        target, result = cell['spec']['criterion']['delta_p_target'], cell['result']
        by_target.setdefault(target, result['course'])
        shown = [f'{result["mAP"]:.1f}', f'{result["CF1"]:.1f}', f'{result["delta_p"]:.2f}']
        body.append([f'{target}, seed {cell["spec"]["seed"]}', *shown, *_ends(result.get('ends'))])
    report.write_figure(_draw_courses(by_target), args.images, 'adaptive_targets', args.page)
    return table(['Δp target', 'test mAP, %', 'test CF1, %', 'test Δp', *ENDS], body)


def _draw_courses(courses: dict[float, dict]):
    """Fig. 9: the exponent and the gap over the iterations, one colour a target."""
    figure, (above, below) = pyplot().subplots(2, 1, figsize=(7, 6), sharex=True)
    for number, (target, course) in enumerate(courses.items()):
        above.plot(course['iteration'], course['gamma_neg'], color=f'C{number}', label=f'target {target:g}')
        below.plot(course['iteration'], course['delta_p'], color=f'C{number}')
        below.axhline(target, color=f'C{number}', linestyle=':', linewidth=1)
    above.set_ylabel('γ₋')
    below.set_ylabel(f'Δp, mean of {WINDOW} iterations')
    below.set_xlabel('iteration')
    above.legend(fontsize=8)
    for panel in (above, below):
        panel.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def _steps(cells, args):
    rows = {(cell['spec']['step_size'], cell['spec']['batch_size']): cell['result'] for cell in cells}
    sizes, batches = (sorted(set(values)) for values in zip(*rows, strict=True))
    body = []
    for size in sizes:
        found = [rows.get((size, batch)) for batch in batches]
        texts = ['' if row is None else ' / '.join([*_ends(row)[1:], f'{row["mAP"]:.1f}']) for row in found]
        body.append([f'{size:g}' if size else '0 (fixed)', *texts])
    figure, panels = pyplot().subplots(1, 3, figsize=(11, 3.4))
    for batch in batches:
        mine = {size: rows[size, batch] for size in sizes if size and (size, batch) in rows}
        for panel, key in zip(panels, ('error', 'settled', 'wobble'), strict=True):
            panel.plot(list(mine), [row[key] for row in mine.values()], 'o-', label=f'batch {batch:,}')
    titles = 'distance of Δp from its target', 'settled at iteration', 'standard deviation of γ₋'
    for panel, title in zip(panels, titles, strict=True):
        panel.set(xscale='log', xlabel='step size λ', title=title)
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    report.write_figure(figure, args.images, 'adaptive_steps', args.page)
    return table(['λ', *(f'batch {batch:,}' for batch in batches)], body)


def _tail(cells, args):
    """AP by frequency group: thirds of the classes, ordered by their number of training labels."""
    body = []
    for name, group in sorted(report.by_seed(cells, lambda spec: spec['row']).items()):
        means = [_group_means(cell['result']) for cell in group.values()]
        shown = [plus_minus(spread([found[part] for found in means])) for part in ('all', *GROUPS)]
        course = next(iter(group.values()))['result'].get('course')
        body.append([f'{name} ({len(group)})', *shown, _range(course)])
    return table(['test AP, % (seeds)', 'all classes', *GROUPS, 'γ₋ at the end'], body)


def _group_means(result: dict) -> dict[str, float]:
    order = sorted(result['train_labels'], key=lambda name: -result['train_labels'][name])
    edges = [round(len(order) * part / len(GROUPS)) for part in range(len(GROUPS) + 1)]
    groups = {group: order[low:high] for group, (low, high) in zip(GROUPS, pairwise(edges), strict=True)}
    known = result['AP']  # without classes that have no positive test scene
    means = {group: mean(known[name] for name in names if name in known) for group, names in groups.items()}
    return dict(all=mean(known.values()), **means)


def _range(course: dict | None) -> str:
    if course is None:
        return ''
    low, high = (course.get(f'gamma_neg_{end}', course['gamma_neg'])[-1] for end in ('min', 'max'))
    return f'{low:.1f} to {high:.1f}' if low < high else f'{low:.1f}'


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=[*STAGES, 'report'])
    parser.add_argument('--seeds', type=int, default=1, help='targets, tail: number of seeds')
    parser.add_argument('--workers', type=int, default=2, help='single-thread processes at a time')
    parser.add_argument(
        '--ladder', type=Path, default=report.RESULTS / f'{STUDY.name}.jsonl', help="the ladder's cells"
    )
    report.add_paths(parser, 'adaptive', ROOT / 'docs' / 'adaptive.md')
    args = parser.parse_args(argv)
    if args.stage == 'report':
        write_report(args)
        return 0
    function = steps_cell if args.stage == 'steps' else train_cell
    options = dict(workers=args.workers, log=ROOT / 'work_dirs' / 'adaptive.log', file=args.results)
    return 1 if run_grid(STAGES[args.stage](args), args.cells, function, describe, **options) else 0


if __name__ == '__main__':
    sys.exit(main())
