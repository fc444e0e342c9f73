"""From finished cells to means, spreads, paired differences, Markdown, JSON and a figure."""

import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean

from mmasl.utils.grid import write_json
from mmasl.utils.report import insert, plus_minus, pyplot, save_figure, spread, table

LOSSES = {
    'ce': 'cross-entropy',
    'fl': 'focal, γ=2',
    'fl-lw': 'focal + linear weighting',
    'af': 'asymmetric focusing',
    'pm': 'probability margin',
    'asl': 'both (ASL)',
    'asl-t2': 'ASL, values of Table 2',
}
REGIMES = {'ft': 'Fine-tuned from single-digit weights', 'scratch': 'From random weights'}
MEASURES = ('mAP', 'CF1', 'OF1', 'pt_pos', 'pt_neg', 'delta_p')
BASELINE = 'ce'
MARKERS = ('<!-- ladder: begin (written by tools/benchmarks/digit_scenes_ladder.py report) -->', '<!-- ladder: end -->')


def load_cells(folder: Path) -> list[dict]:
    """All finished cells of ``folder``."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))]


def aggregate(cells: list[dict]) -> list[dict]:
    """One row for each regime, share of missing labels and loss, in the order of the tables.

    Args:
        cells: Cells of the grid, each with ``spec`` and ``result``.

    Returns:
        Rows with the regime, ``missing``, the loss, its learning rate and length, the ``seeds``, the mean and the
        standard deviation of each measure, and under ``difference`` those of the paired differences of mAP to
        cross-entropy (same regime, same share, same seed) with the number of seeds that are ``better``; None for
        cross-entropy itself and where no seed has both.

    Raises:
        ValueError: If cells of one row were made with different settings.
    """
    groups = defaultdict(dict)
    for cell in cells:
        spec = cell['spec']
        groups[spec['regime'], spec['missing'], spec['loss']][spec['seed']] = cell
    rows = []
    order = {name: number for names in (REGIMES, LOSSES) for number, name in enumerate(names)}
    for (regime, missing, loss), by_seed in sorted(
        groups.items(), key=lambda item: (order[item[0][0]], item[0][1], order[item[0][2]])
    ):
        settings = [{k: v for k, v in cell['spec'].items() if k != 'seed'} for cell in by_seed.values()]
        if any(setting != settings[0] for setting in settings):
            raise ValueError(f'cells of {regime}, {missing}, {loss} were made with different settings: run the grid')
        row = dict(regime=regime, missing=missing, loss=loss, seeds=sorted(by_seed))
        row.update({key: settings[0][key] for key in ('lr', 'epochs', 'scenes', 'criterion')})
        row['seconds'] = round(mean(cell['seconds'] for cell in by_seed.values()), 1)
        row.update({key: spread([cell['result'][key] for cell in by_seed.values()]) for key in MEASURES})
        baseline = groups.get((regime, missing, BASELINE), {})
        paired = [by_seed[s]['result']['mAP'] - baseline[s]['result']['mAP'] for s in sorted(by_seed) if s in baseline]
        row['difference'] = None
        if loss != BASELINE and paired:
            row['difference'] = dict(**spread(paired), better=sum(d > 0 for d in paired))
        rows.append(row)
    return rows


def markdown(rows: list[dict], trials: list[dict]) -> str:
    """The tables of the README.

    Args:
        rows: What :func:`aggregate` returns.
        trials: Cells of the tuning stage.
    """
    parts = []
    for regime, title in REGIMES.items():
        mine = [row for row in rows if row['regime'] == regime]
        if not mine:
            continue
        parts.append(f'### {title}')
        rates = sorted({row['missing'] for row in mine})
        by_key = {(row['loss'], row['missing']): row for row in mine}
        losses = [loss for loss in LOSSES if any(row['loss'] == loss for row in mine)]
        head, body = ['mAP, %'], [[LOSSES[loss]] for loss in losses]
        for rate in rates:
            head += [f'{100 * rate:.0f} % missing', '− CE (better in)']
            for line, loss in zip(body, losses, strict=True):
                row = by_key.get((loss, rate))
                difference = row and row['difference']
                line.append(f'{plus_minus(row["mAP"])} ({row["mAP"]["n"]})' if row else '')
                better = (
                    difference and f'{plus_minus(difference, sign=True)} ({difference["better"]}/{difference["n"]})'
                )
                line.append(better or '')
        parts.append(table(head, body))
        for rate in rates:
            body = [
                [LOSSES[loss]]
                + [plus_minus(row[key]) for key in ('CF1', 'OF1')]
                + [plus_minus(row[key], 3) for key in ('pt_pos', 'pt_neg', 'delta_p')]
                + [f'{row["lr"]:g}', str(row['epochs']), f'{row["seconds"]:.0f}']
                for loss in losses
                if (row := by_key.get((loss, rate)))
            ]
            head = [f'{100 * rate:.0f} % missing', 'CF1', 'OF1', 'p_t⁺', 'p_t⁻', 'Δp', 'max lr', 'epochs', 's a run']
            parts.append(table(head, body))
    if trials:
        parts += ['### Trials on the validation split', _trials(trials)]
    return '\n\n'.join(parts)


def _trials(trials: list[dict]) -> str:
    """mAP of each trial: rows are losses, columns are regimes, lengths and learning rates."""
    columns = {_column(t['spec']): _column_title(t['spec']) for t in trials}
    criteria = defaultdict(dict)
    for trial in trials:
        spec = trial['spec']
        label = LOSSES[spec['loss']]
        if spec['loss'] not in ('ce', 'fl'):
            names = dict(alpha='α', gamma_pos='γ₊', gamma_neg='γ₋', clip='m')
            values = [f'{names[key]}={value:g}' for key, value in spec['criterion'].items() if key in names]
            label += f': {", ".join(values)}'
        criteria[list(LOSSES).index(spec['loss']), label][_column(spec)] = trial
    order = sorted(columns)
    head = ['validation mAP, %'] + [columns[column] for column in order]
    body = [
        [label] + [f'{found[c]["result"]["mAP"]:.1f}' if c in found else '' for c in order]
        for (_, label), found in sorted(criteria.items())
    ]
    return table(head, body)


def _column(spec: dict) -> tuple:
    return list(REGIMES).index(spec['regime']), spec['missing'], spec['epochs'], spec['lr']


def _column_title(spec: dict) -> str:
    missing = f', {100 * spec["missing"]:.0f} % missing' if spec['missing'] else ''
    return f'{spec["regime"]}, {spec["epochs"]} epochs{missing}, lr {spec["lr"]:g}'


def draw(rows: list[dict], path: Path) -> None:
    """Bars of mAP with their standard deviations, one panel a regime, as ``path``.png and ``path``.svg."""
    plt = pyplot()
    regimes = [regime for regime in REGIMES if any(row['regime'] == regime for row in rows)]
    counts = [len({row['missing'] for row in rows if row['regime'] == regime}) for regime in regimes]
    figure, panels = plt.subplots(
        1, len(regimes), figsize=(1 + 2.6 * sum(counts), 3.6), sharey=True, squeeze=False, width_ratios=counts
    )
    for panel, regime in zip(panels[0], regimes, strict=True):
        mine = [row for row in rows if row['regime'] == regime]
        rates = sorted({row['missing'] for row in mine})
        for number, (loss, label) in enumerate(LOSSES.items()):
            found = [row for row in mine if row['loss'] == loss]
            x = [rates.index(row['missing']) + (number - (len(LOSSES) - 1) / 2) * 0.12 for row in found]
            error = [row['mAP']['std'] or 0 for row in found]
            panel.bar(x, [row['mAP']['mean'] for row in found], 0.11, yerr=error, capsize=2, label=label)
        panel.set_xticks(range(len(rates)), [f'{100 * rate:.0f} %' for rate in rates])
        panel.set_title(REGIMES[regime], fontsize=10)
        panel.set_xlabel('positive training labels missing')
        panel.grid(axis='y', alpha=0.3)
    panels[0][0].set_ylabel('mAP on test scenes, %')
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc='outside upper center', ncols=3, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.86))
    save_figure(figure, path)


def write_report(folder: Path, out: Path) -> None:
    """Write ``ladder.json``, ``ladder.png`` and ``ladder.svg`` into ``out`` and the tables into its ``README.md``.

    Args:
        folder: The finished cells.
        out: A folder with a ``README.md`` that has both markers.

    Raises:
        ValueError: If there is no cell of the grid.
    """
    cells = load_cells(folder)
    trials = [cell for cell in cells if cell['spec']['split'] == 'val']
    rows = aggregate([cell for cell in cells if cell['spec']['split'] == 'test'])
    if not rows:
        raise ValueError(f'expected finished cells in {folder}, found none: run the grid first')
    if any(math.isnan(row['mAP']['mean']) for row in rows):
        raise ValueError('a cell has no mAP: NaN')
    readme = out / 'README.md'
    readme.write_text(insert(readme.read_text(), markdown(rows, trials), *MARKERS))
    write_json(out / 'ladder.json', dict(rows=rows, trials=[dict(t['spec'], mAP=t['result']['mAP']) for t in trials]))
    draw(rows, out / 'ladder')
    print(markdown(rows, trials))
