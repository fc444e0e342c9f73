"""From finished cells to means, spreads, paired differences, Markdown, JSON and a figure."""

import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean

from mmasl.analysis.report import insert, plus_minus, pyplot, save_figure, spread, table
from mmasl.files import write_json

SYMBOLS = {'pt_pos': 'p_t⁺', 'pt_neg': 'p_t⁻', 'delta_p': 'Δp'}


def markers(study) -> tuple[str, str]:
    """The lines of a README between which its tables stand."""
    return f'<!-- ladder: begin (written by tools/studies/{study.name}_ladder.py report) -->', '<!-- ladder: end -->'


def load_cells(folder: Path) -> list[dict]:
    """All finished cells of ``folder``."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))]


def aggregate(study, cells: list[dict]) -> list[dict]:
    """One row for each regime, share of what is missing, and loss, in the order of the tables.

    Args:
        study: The ``ladder.Study`` that the cells belong to.
        cells: Cells of the grid, each with ``spec`` and ``result``.

    Returns:
        Rows with the regime, ``missing``, the loss, its learning rate and length, the ``seeds``, the mean and the
        standard deviation of each measure, and under ``difference`` those of the paired differences of the measure to
        the baseline (same regime, same share, same seed) with the number of seeds that are ``better``; None for
        the baseline itself and where no seed has both.

    Raises:
        ValueError: If cells of one row were made with different settings.
    """
    groups = defaultdict(dict)
    for cell in cells:
        spec = cell['spec']
        groups[spec['regime'], spec['missing'], spec['loss']][spec['seed']] = cell
    rows = []
    order = {name: number for names in (study.regimes, study.losses) for number, name in enumerate(names)}
    for (regime, missing, loss), by_seed in sorted(
        groups.items(), key=lambda item: (order[item[0][0]], item[0][1], order[item[0][2]])
    ):
        settings = [{k: v for k, v in cell['spec'].items() if k != 'seed'} for cell in by_seed.values()]
        if any(setting != settings[0] for setting in settings):
            raise ValueError(f'cells of {regime}, {missing}, {loss} were made with different settings: run the grid')
        row = dict(regime=regime, missing=missing, loss=loss, seeds=sorted(by_seed))
        row.update({key: settings[0][key] for key in ('lr', 'epochs', 'scenes', 'criterion')})
        row['seconds'] = round(mean(cell['seconds'] for cell in by_seed.values()), 1)
        row.update(
            {key: spread([cell['result'][key] for cell in by_seed.values()]) for key in (study.measure, *study.shown)}
        )
        baseline = groups.get((regime, missing, study.baselines[regime]), {})
        values = [
            {seed: cell['result'][study.measure] for seed, cell in group.items()} for group in (by_seed, baseline)
        ]
        paired = [values[0][seed] - values[1][seed] for seed in sorted(by_seed) if seed in baseline]
        row['difference'] = None
        if loss != study.baselines[regime] and paired:
            row['difference'] = dict(**spread(paired), better=sum(d > 0 for d in paired))
        rows.append(row)
    return rows


def markdown(study, rows: list[dict], trials: list[dict]) -> str:
    """The tables of the README.

    Args:
        study: The ``ladder.Study``.
        rows: What :func:`aggregate` returns.
        trials: Cells of the tuning stage.
    """
    parts = []
    for regime, title in study.regimes.items():
        mine = [row for row in rows if row['regime'] == regime]
        if not mine:
            continue
        parts.append(f'### {title}')
        rates = sorted({row['missing'] for row in mine})
        by_key = {(row['loss'], row['missing']): row for row in mine}
        losses = [loss for loss in study.losses if any(row['loss'] == loss for row in mine)]
        head, body = [f'{study.measure}, %'], [[study.losses[loss]] for loss in losses]
        for rate in rates:
            head += [f'{100 * rate:.0f} % missing', f'− {study.baselines[regime].upper()} (better in)']
            for line, loss in zip(body, losses, strict=True):
                row = by_key.get((loss, rate))
                difference = row and row['difference']
                line.append(f'{plus_minus(row[study.measure])} ({row[study.measure]["n"]})' if row else '')
                better = (
                    difference and f'{plus_minus(difference, sign=True)} ({difference["better"]}/{difference["n"]})'
                )
                line.append(better or '')
        parts.append(table(head, body))
        for rate in rates:
            body = [
                [study.losses[loss]]
                + [plus_minus(row[key], digits) for key, digits in study.shown.items()]
                + [f'{row["lr"]:g}', str(row['epochs']), f'{row["seconds"]:.0f}']
                for loss in losses
                if (row := by_key.get((loss, rate)))
            ]
            shown = [SYMBOLS.get(key, key) for key in study.shown]
            parts.append(table([f'{100 * rate:.0f} % missing', *shown, 'max lr', 'epochs', 's a run'], body))
    if trials:
        parts += ['### Trials on the validation split', _trials(study, trials)]
    return '\n\n'.join(parts)


def _trials(study, trials: list[dict]) -> str:
    """The measure of each trial: rows are losses, columns are regimes, lengths and learning rates."""
    columns = {_column(study, trial['spec']): _column_title(trial['spec']) for trial in trials}
    criteria = defaultdict(dict)
    for trial in trials:
        spec = trial['spec']
        label = study.losses[spec['loss']]
        if spec['loss'] not in study.plain:
            values = [f'{study.own[key]}={value:g}' for key, value in spec['criterion'].items() if key in study.own]
            label += f': {", ".join(values)}'
        criteria[list(study.losses).index(spec['loss']), label][_column(study, spec)] = trial
    order = sorted(columns)
    head = [f'validation {study.measure}, %'] + [columns[column] for column in order]
    body = [
        [label] + [f'{found[c]["result"][study.measure]:.1f}' if c in found else '' for c in order]
        for (_, label), found in sorted(criteria.items())
    ]
    return table(head, body)


def _column(study, spec: dict) -> tuple:
    return list(study.regimes).index(spec['regime']), spec['missing'], spec['epochs'], spec['lr']


def _column_title(spec: dict) -> str:
    missing = f', {100 * spec["missing"]:.0f} % missing' if spec['missing'] else ''
    return f'{spec["regime"]}, {spec["epochs"]} epochs{missing}, lr {spec["lr"]:g}'


def draw(study, rows: list[dict], path: Path) -> None:
    """Bars of the measure with their standard deviations, one panel a regime, as ``path``.png and ``path``.svg."""
    plt = pyplot()
    regimes = [regime for regime in study.regimes if any(row['regime'] == regime for row in rows)]
    counts = [len({row['missing'] for row in rows if row['regime'] == regime}) for regime in regimes]
    figure, panels = plt.subplots(
        1, len(regimes), figsize=(1 + 2.6 * sum(counts), 3.6), sharey=True, squeeze=False, width_ratios=counts
    )
    losses = [loss for loss in study.losses if any(row['loss'] == loss for row in rows)]
    for panel, regime in zip(panels[0], regimes, strict=True):
        mine = [row for row in rows if row['regime'] == regime]
        rates = sorted({row['missing'] for row in mine})
        here = [loss for loss in losses if any(row['loss'] == loss for row in mine)]
        width = 0.84 / len(here)
        for number, loss in enumerate(here):
            found = [row for row in mine if row['loss'] == loss]
            x = [rates.index(row['missing']) + (number - (len(here) - 1) / 2) * width for row in found]
            error = [row[study.measure]['std'] or 0 for row in found]
            colour = f'C{losses.index(loss)}'
            heights = [row[study.measure]['mean'] for row in found]
            panel.bar(x, heights, 0.9 * width, yerr=error, capsize=2, color=colour, label=study.losses[loss])
        panel.set_xticks(range(len(rates)), [f'{100 * rate:.0f} %' for rate in rates])
        panel.set_title(study.regimes[regime], fontsize=10)
        panel.set_xlabel(f'{study.item} of the training scenes missing')
        panel.grid(axis='y', alpha=0.3)
    panels[0][0].set_ylabel(f'{study.measure} on test scenes, %')
    legend = {text: bar for panel in panels[0] for bar, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc='outside upper center', ncols=3, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.86))
    save_figure(figure, path)


def write_report(study, folder: Path, out: Path) -> None:
    """Write ``ladder.json``, ``ladder.png`` and ``ladder.svg`` into ``out`` and the tables into its ``README.md``.

    Args:
        study: The ``ladder.Study``.
        folder: The finished cells.
        out: A folder with a ``README.md`` that has both markers.

    Raises:
        ValueError: If there is no cell of the grid.
    """
    cells = load_cells(folder)
    trials = [cell for cell in cells if cell['spec']['split'] == 'val']
    rows = aggregate(study, [cell for cell in cells if cell['spec']['split'] == 'test'])
    if not rows:
        raise ValueError(f'expected finished cells in {folder}, found none: run the grid first')
    if any(math.isnan(row[study.measure]['mean']) for row in rows):
        raise ValueError(f'a cell has no {study.measure}: NaN')
    readme = out / 'README.md'
    readme.write_text(insert(readme.read_text(), markdown(study, rows, trials), *markers(study)))
    write_json(
        out / 'ladder.json',
        dict(rows=rows, trials=[{**t['spec'], study.measure: t['result'][study.measure]} for t in trials]),
    )
    draw(study, rows, out / 'ladder')
    print(markdown(study, rows, trials))
