"""Adaptive asymmetry on DigitScenes: its settings, whether it reaches its target, and what it is worth.

    python tools/studies/adaptive.py trials    # compares settings on the validation split
    python tools/studies/adaptive.py targets   # records gamma_neg and the gap over the iterations, as in Fig. 9
    python tools/studies/adaptive.py steps     # compares step sizes and batch sizes on frozen features
    python tools/studies/adaptive.py report    # gathers the finished cells, and writes tables and figures

The row asl-ad of ``ladder.py digit_scenes`` compares it with the fixed losses, by seeds and missing labels. Each
finished cell is kept as a JSON file, so a stopped command continues where it was stopped.
"""

import argparse
import functools
import sys
from pathlib import Path

import report
from adaptive_steps import WINDOW, settling, steps_cell, thin
from experiment import ROOT, run_trial
from grid import check_failures, gather, read_cells, run_grid
from ladder_cells import TUNING_SEED, make_spec
from ladder_report import by_row
from ladder_studies import DIGIT_SCENES
from mmengine.logging import MessageHub

from mmasl.analysis.report import plus_minus, pyplot, table
from mmasl.errors import command, positive

# Trials and targets keep the step size that was the default when they ran: it is 250 / number of steps here.
COMMON = dict(step_size=0.1)
NAIVE = dict(gamma_neg=1.0, step_size=0.05, momentum=0.0)
TRIALS = {  # what each trial changes in the config with the common step size
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
FIXED, ADAPTIVE = 'asl', 'asl-ad'  # rows of the ladder
ENDS = ['γ₋, last fifth', 'distance of Δp, last fifth', 'settled at iteration']


def trials(args) -> dict[str, dict]:
    """Return trials that change one setting each, and short trainings with a fixed and with an adaptive exponent."""
    make = functools.partial(make_spec, DIGIT_SCENES, 'ft', seed=TUNING_SEED, split='val', stage='trials')
    specs = [
        make('asl', row='fixed'),
        make('asl-t2', row='fixed, γ₋=4, m=0.05'),
        *(make('asl-ad', criterion=COMMON | changes, row=name) for name, changes in TRIALS.items()),
        make('asl', epochs=3, row='3 epochs, fixed'),
        make('asl-ad', epochs=3, criterion=COMMON, row='3 epochs, the config'),
        make('asl-ad', epochs=3, criterion=NAIVE, row='3 epochs, λ=0.05, start 1'),
    ]
    return {f'trial_{number:02d}': spec for number, spec in enumerate(specs)}


def targets(args) -> dict[str, dict]:
    make = functools.partial(make_spec, DIGIT_SCENES, 'ft', 'asl-ad', stage='targets')
    return {
        f'target{target}_seed{seed}': make(seed, criterion=dict(COMMON, delta_p_target=target))
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


STAGES = dict(trials=trials, targets=targets, steps=steps)


def train_cell(spec: dict) -> dict:
    """Train one cell and return its metrics and the course of its asymmetry."""
    metrics = run_trial(spec, **{'custom_hooks.0.interval': 1} if spec['loss'] == ADAPTIVE else {})
    result = {name: metrics[name] for name in DIGIT_SCENES.metrics}
    scalars = MessageHub.get_current_instance().log_scalars
    course = {
        name: [round(float(value), 5) for value in scalars[f'train/{name}'].data[0]]
        for name in ('gamma_neg', 'clip', 'delta_p')
        if f'train/{name}' in scalars
    }
    if 'gamma_neg' in course:
        target = spec['criterion']['delta_p_target']
        result['ends'] = settling(course['gamma_neg'], course['delta_p'], target)
        result['course'] = thin(course)
    return result


def describe(result: dict) -> str:
    return f'mAP {result["mAP"]:.2f}'


def write_report(args: argparse.Namespace) -> None:
    """Gather the cells, write the tables into the page, and draw the figures."""
    tables, cells = {}, gather(args.cells, args.results)
    for stage, write in dict(trials=_trials, targets=_targets, steps=_steps).items():
        mine = [cell for cell in cells if cell['spec']['stage'] == stage]
        if mine:
            tables[stage] = write(mine, args)
    tables['fixed'] = _against_fixed(args.ladder)
    report.write_page(args.page, tables, 'tools/studies/adaptive.py report')


def _against_fixed(file: Path) -> str:
    """Return the table of the fixed and the adaptive row of the ladder, with differences paired by seed."""
    cells = read_cells(ROOT / 'work_dirs' / 'studies' / DIGIT_SCENES.name, file)
    kinds = [('test', 'ft', loss) for loss in (FIXED, ADAPTIVE)]
    mine = [cell for cell in cells if tuple(cell['spec'][key] for key in ('split', 'regime', 'loss')) in kinds]
    rows, digits, body = by_row(DIGIT_SCENES, mine), dict(mAP=1, CF1=1, OF1=1, delta_p=3), []
    for (regime, missing, loss), group in rows.items():
        paired = report.difference_text(group, rows.get((regime, missing, FIXED), {}), 'mAP')
        shown = [plus_minus(report.values(group, key), number) for key, number in digits.items()]
        label = f'{100 * missing:.0f} % missing, {DIGIT_SCENES.losses[loss]} ({len(group)})'
        body.append([label, shown[0], paired, *shown[1:]])
    return table(['test scenes (seeds)', 'mAP, %', '− fixed (better in)', 'CF1', 'OF1', 'Δp'], body)


def _ends(row: dict | None) -> list[str]:
    """Return the columns of a table that describe the end of a training."""
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
    """Draw Fig. 9: the exponent and the gap over the iterations, with one colour for each target."""
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


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=[*STAGES, 'report'])
    parser.add_argument('--seeds', type=positive, default=1, help='targets: number of seeds')
    parser.add_argument(
        '--ladder', type=Path, default=report.RESULTS / f'{DIGIT_SCENES.name}.jsonl', help="the ladder's cells"
    )
    report.add_paths(parser, 'adaptive', ROOT / 'docs' / 'adaptive.md')
    args = parser.parse_args(argv)
    if args.stage == 'report':
        write_report(args)
        return
    function = steps_cell if args.stage == 'steps' else train_cell
    check_failures(run_grid(STAGES[args.stage](args), args, function, describe), args)


if __name__ == '__main__':
    sys.exit(main())
