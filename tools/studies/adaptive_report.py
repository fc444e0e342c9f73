"""The cells of ``adaptive.py`` as tables, JSON and figures."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev

from ladder import Study
from ladder_report import aggregate, load_cells

from mmasl.analysis.report import insert, plus_minus, pyplot, save_figure, spread, table
from mmasl.files import write_json

WINDOW = 50  # iterations over which the gap is averaged: that of one small batch is noise
NEAR = 0.03
FIXED, ADAPTIVE = 'asl', 'asl-ad'  # rows of the ladder
GROUPS = ('frequent', 'medium', 'rare')
MARKERS = '<!-- {}: begin (written by tools/studies/adaptive.py report) -->', '<!-- {}: end -->'


def describe(result: dict) -> str:
    return f'mAP {result["mAP"]:.2f}'


def settling(gamma_neg: list[float], gaps: list[float], target: float) -> dict:
    """How a training settles, from the exponent and the gap of each iteration.

    Returns:
        ``settled``: the iteration after which the gap, averaged over 50, is within 0.03 of the target in 99 % of the
        iterations, None if that is in the last fifth or later. And over the last fifth: the mean of ``gamma_neg``, its
        standard deviation ``wobble``, and ``error``, the mean distance of the averaged gap from the target.

    Example:
        >>> settling([4.0] * 20 + [5.0] * 180, [-0.5] * 20 + [0.1] * 180, target=0.1)
        {'settled': 67, 'gamma_neg': 5.0, 'wobble': 0.0, 'error': 0.0}
    """
    errors = [abs(mean(gaps[end - WINDOW : end]) - target) for end in range(WINDOW, len(gaps) + 1)]
    fifth = len(gaps) // 5
    settled, far = None, 0
    for later, error in enumerate(reversed(errors), start=1):
        far += error > NEAR
        if later > fifth and far <= 0.01 * later:
            settled = len(gaps) - later + 1
    return dict(
        settled=settled,
        gamma_neg=round(mean(gamma_neg[-fifth:]), 3),
        wobble=round(pstdev(gamma_neg[-fifth:]), 4),
        error=round(mean(errors[-fifth:]), 4),
    )


def write_report(study: Study, folder: Path, out: Path) -> None:
    """Write the tables into ``out``/adaptive.md, and ``adaptive.json`` and the figures into ``out``/adaptive/.

    Args:
        study: The ladder, whose finished cells have the adaptive loss beside the fixed one.
        folder: The other finished cells.
        out: A folder with an ``adaptive.md`` that has the markers.
    """
    document, content = (out / 'adaptive.md').read_text(), {}
    cells = {path.stem: cell for path, cell in zip(sorted(folder.glob('*.json')), load_cells(folder), strict=True)}
    for stage, write in dict(trial=_trials, target=_targets, step=_steps, tail=_tail).items():
        mine = {name.removeprefix(f'{stage} '): cell for name, cell in cells.items() if name.startswith(f'{stage} ')}
        if mine:
            text, content[stage] = write(mine, out / 'adaptive')
            document = insert(document, text, *(marker.format(stage) for marker in MARKERS))
    text, content['fixed'] = _against_fixed(study)
    document = insert(document, text, *(marker.format('fixed') for marker in MARKERS))
    (out / 'adaptive.md').write_text(document)
    write_json(out / 'adaptive' / 'adaptive.json', content)


def _against_fixed(study):
    """The adaptive row of the ladder beside the fixed one it starts from, differences paired by seed."""
    study = dataclasses.replace(study, baselines=dict.fromkeys(study.regimes, FIXED))
    cells = [cell for cell in load_cells(study.cells) if cell['spec']['split'] == 'test']
    cells = [cell for cell in cells if cell['spec']['loss'] in (FIXED, ADAPTIVE) and cell['spec']['regime'] == 'ft']
    rows = aggregate(study, cells)
    body = []
    for row in rows:
        difference = row['difference']
        paired = difference and f'{plus_minus(difference, sign=True)} ({difference["better"]}/{difference["n"]})'
        label = f'{100 * row["missing"]:.0f} % missing, {study.losses[row["loss"]]} ({len(row["seeds"])})'
        shown = [plus_minus(row[key], digits) for key, digits in dict(mAP=1, CF1=1, OF1=1, delta_p=3).items()]
        body.append([label, shown[0], paired or '', *shown[1:]])
    return table(['test scenes (seeds)', 'mAP, %', '− fixed (better in)', 'CF1', 'OF1', 'Δp'], body), rows


def _settling(cell: dict) -> dict | None:
    course = cell['result'].get('course')
    if course is None or 'gamma_neg' not in course:
        return None
    return settling(course['gamma_neg'], course['delta_p'], cell['spec']['criterion']['delta_p_target'])


def _ends(row: dict | None) -> list[str]:
    """The cells of a table that say how a training ended."""
    if row is None:
        return ['', '', '']
    settled = '—' if row['settled'] is None else f'{row["settled"]:,}'
    return [f'{row["gamma_neg"]:.2f} ± {row["wobble"]:.2f}', f'{row["error"]:.3f}', settled]


ENDS = ['γ₋, last fifth', 'distance of Δp, last fifth', 'settled at iteration']


def _trials(cells, out):
    rows = {name: dict(mAP=cell['result']['mAP'], ends=_settling(cell)) for name, cell in cells.items()}
    body = [[name, f'{row["mAP"]:.1f}', *_ends(row['ends'])] for name, row in rows.items()]
    return table(['setting', 'validation mAP, %', *ENDS], body), rows


def _targets(cells, out):
    by_target = {}
    for cell in cells.values():
        by_target.setdefault(cell['spec']['criterion']['delta_p_target'], []).append(cell)
    body, rows = [], {}
    for target, found in sorted(by_target.items()):
        for cell in sorted(found, key=lambda cell: cell['spec']['seed']):
            row = {key: cell['result'][key] for key in ('mAP', 'CF1', 'delta_p')}
            row.update(seed=cell['spec']['seed'], ends=_settling(cell))
            rows.setdefault(target, []).append(row)
            shown = [f'{row["mAP"]:.1f}', f'{row["CF1"]:.1f}', f'{row["delta_p"]:.2f}']
            body.append([f'{target}, seed {row["seed"]}', *shown, *_ends(row['ends'])])
    _draw_courses({target: min(found, key=lambda c: c['spec']['seed']) for target, found in by_target.items()}, out)
    return table(['Δp target', 'test mAP, %', 'test CF1, %', 'test Δp', *ENDS], body), rows


def _draw_courses(cells, out):
    """Fig. 9: the exponent and the gap over the iterations, one colour a target."""
    plt = pyplot()
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    for number, (target, cell) in enumerate(sorted(cells.items())):
        course, colour = cell['result']['course'], f'C{number}'
        gaps = [mean(course['delta_p'][max(0, end - WINDOW) : end]) for end in range(1, len(course['delta_p']) + 1)]
        above.plot(course['gamma_neg'], color=colour, label=f'target {target:g}')
        below.plot(gaps, color=colour)
        below.axhline(target, color=colour, linestyle=':', linewidth=1)
    above.set_ylabel('γ₋')
    below.set_ylabel(f'Δp, mean of {WINDOW} iterations')
    below.set_xlabel('iteration')
    above.legend(fontsize=8)
    for panel in (above, below):
        panel.grid(alpha=0.3)
    figure.tight_layout()
    save_figure(figure, out / 'targets')


def _steps(cells, out):
    rows = [dict(cell['spec'], **cell['result']) for cell in cells.values()]
    rows.sort(key=lambda row: (row['batch_size'], row['step_size']))
    batches = sorted({row['batch_size'] for row in rows})
    sizes = sorted({row['step_size'] for row in rows})
    find = {(row['step_size'], row['batch_size']): row for row in rows}
    body = []
    for size in sizes:
        line = [f'{size:g}' if size else '0 (fixed)']
        for batch in batches:
            row = find.get((size, batch))
            line.append('' if row is None else ' / '.join([*_ends(row)[1:], f'{row["mAP"]:.1f}']))
        body.append(line)
    plt = pyplot()
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4))
    for batch in batches:
        mine = [row for row in rows if row['batch_size'] == batch and row['step_size']]
        x = [row['step_size'] for row in mine]
        for panel, key in zip(panels, ('error', 'settled', 'wobble'), strict=True):
            panel.plot(x, [row[key] for row in mine], 'o-', label=f'batch {batch:,}')
    titles = 'distance of Δp from its target', 'settled at iteration', 'standard deviation of γ₋'
    for panel, title in zip(panels, titles, strict=True):
        panel.set(xscale='log', xlabel='step size λ', title=title)
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    save_figure(figure, out / 'steps')
    return table(['λ', *(f'batch {batch:,}' for batch in batches)], body), rows


def _tail(cells, out):
    """AP by frequency group: thirds of the classes, ordered by their number of training labels."""
    by_row = {}
    for name, cell in cells.items():
        by_row.setdefault(name.split(' seed ')[0], {})[cell['spec']['seed']] = cell
    rows, body = {}, []
    for name, by_seed in by_row.items():
        groups = {seed: _group_means(cell['result']) for seed, cell in by_seed.items()}
        rows[name] = {group: spread([found[group] for found in groups.values()]) for group in ('all', *GROUPS)}
        rows[name]['gamma_neg'] = {seed: _range(cell['result'].get('course')) for seed, cell in by_seed.items()}
        body.append(
            [f'{name} ({len(by_seed)})']
            + [plus_minus(rows[name][group]) for group in ('all', *GROUPS)]
            + [next(iter(rows[name]['gamma_neg'].values()))]
        )
    return table(['test AP, % (seeds)', 'all classes', *GROUPS, 'γ₋ at the end'], body), rows


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
