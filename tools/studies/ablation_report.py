"""From the finished trials of an ablation to its table, JSON and figure."""

import json
from pathlib import Path

from grid import read_cell

from mmasl.analysis.report import insert, plus_minus, pyplot, save_figure, spread, table
from mmasl.errors import UserError
from mmasl.files import write_json

# Rows of Table 2: the ablation that has them, and which of its points (x, line) they are.
TABLE_2 = {
    'FL': ('fig5', lambda x, line: x > 0),
    'FL + linear weighting': ('weighting', lambda x, line: True),
    'Focusing (ASL)': ('asymmetries', lambda x, line: line == 0),
    'Probability margin (ASL)': ('fig7', lambda x, line: x > 0 and line > 0),
    'Focusing + Probability margin (ASL)': ('asymmetries', lambda x, line: line > 0),
}


def write_report(
    name: str, ablation, names: list[tuple], cells: dict[str, dict], metrics: list[str], out: Path
) -> None:
    """Write the table of an ablation into ``out``/README.md, and ``out``/``name`` with .json, .png and .svg.

    Args:
        name: Of the ablation.
        ablation: With its axes, ``x`` and ``lines``.
        names: For each point its value along x, its line's value, and the names of its trials, one a seed.
        cells: The spec of each trial.
        metrics: The measures to report; the first one is drawn.
        out: The folder; the finished trials are in its ``trials``.

    Raises:
        UserError: No trial is finished, or they do not measure one of ``metrics``.
    """
    points = []
    for x, line, trials in names:
        found = [cell for trial in trials if (cell := read_cell(out / 'trials', trial, cells[trial]))]
        if found:
            values = {metric: [measure(cell, metric) for cell in found] for metric in metrics}
            seeds = [cell['spec']['seed'] for cell in found]
            points.append(dict(x=x, line=line, seeds=seeds, values=values, **{m: spread(v) for m, v in values.items()}))
    if not points:
        raise UserError(f'{name}: no trial is finished in {out / "trials"}; run it without --report')
    settings = dict(metrics=metrics, split=cells[names[0][2][0]]['split'], config=cells[names[0][2][0]]['config'])
    axes = dict(x=ablation.x.label, lines=ablation.lines and ablation.lines.label, fixed=ablation.fixed)
    write_json(out / f'{name}.json', dict(**settings, **axes, points=points))
    draw(points, ablation, metrics[0], out / name)
    text = markdown(points, ablation, metrics, name)
    print(f'\n{name}\n\n{text}\n', flush=True)
    insert_table(out / 'README.md', name, text)


def measure(cell: dict, metric: str) -> float:
    """The value of ``metric`` in a finished trial."""
    if metric not in cell['result']:
        raise UserError(f"--metric: the trials have no '{metric}', but {', '.join(cell['result'])}")
    return cell['result'][metric]


def markdown(points: list[dict], ablation, metrics: list[str], name: str) -> str:
    """The table: a row for each value along x, a column for each measure of each line; a line's best is in bold."""
    lines = list(dict.fromkeys(point['line'] for point in points))
    at = {(point['x'], point['line']): point for point in points}
    first = metrics[0]
    best = [max((p for p in points if p['line'] == line), key=lambda point: point[first]['mean']) for line in lines]
    of_line = {line: '' if line is None else f', {ablation.lines.label} = {label(line)}' for line in lines}
    head = [ablation.x.label, *(f'{metric}{of_line[line]}' for line in lines for metric in metrics)]
    body = []
    for x in dict.fromkeys(point['x'] for point in points):
        row = [label(x)]
        for line in lines:
            point = at.get((x, line))
            for metric in metrics:
                text = f'{plus_minus(point[metric], 2)} ({point[metric]["n"]})' if point else ''
                row.append(f'**{text}**' if point in best and metric == first else text)
        body.append(row)
    return f'{table(head, body)}\n\n![{name}]({name}.png)'


def write_table_2(out: Path) -> None:
    """Write the best point of each row of Table 2 into ``out``/README.md, once they are there."""
    rows = []
    for name, (ablation, belongs) in TABLE_2.items():
        if not (out / f'{ablation}.json').exists():
            return
        report = json.loads((out / f'{ablation}.json').read_text())
        metric = report['metrics'][0]
        points = [point for point in report['points'] if belongs(point['x'], point['line'])]
        if not points:
            return
        point = max(points, key=lambda point: point[metric]['mean'])
        setting = {report['x']: point['x'], report['lines']: point['line']}
        text = ', '.join(f'{key} = {label(value)}' for key, value in setting.items() if key)
        rows.append([name, f'{plus_minus(point[metric], 2)} ({point[metric]["n"]})', text])
    insert_table(out / 'README.md', 'table2', table(['method', metric, 'best at'], rows))


def label(value) -> str:
    """A value of an axis as text."""
    return f'{value:g}' if isinstance(value, float) else str(value)


def insert_table(readme: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers of ``name`` in ``readme``, which get to its end where they are missing."""
    begin, end = f'<!-- {name}: begin (written by tools/studies/ablation.py) -->', f'<!-- {name}: end -->'
    document = readme.read_text() if readme.exists() else '# Ablations\n'
    if begin not in document:
        document += f'\n## {name}\n\n{begin}\n{end}\n'
    readme.write_text(insert(document, text, begin, end))


def draw(points: list[dict], ablation, metric: str, path: Path) -> None:
    """``metric`` against the values along x, with the spread over seeds as bars, as ``path``.png and ``path``.svg."""
    figure, panel = pyplot().subplots(figsize=(4.8, 3.4))
    values = list(dict.fromkeys(point['x'] for point in points))
    numbers = all(isinstance(value, int | float) for value in values)
    for line in dict.fromkeys(point['line'] for point in points):
        mine = [point for point in points if point['line'] == line]
        x = [point['x'] if numbers else values.index(point['x']) for point in mine]
        error = [point[metric]['std'] or 0 for point in mine]
        name = None if line is None else f'{ablation.lines.label} = {label(line)}'
        panel.errorbar(x, [point[metric]['mean'] for point in mine], error, marker='o', capsize=3, label=name)
    if not numbers:
        panel.set_xticks(range(len(values)), [label(value) for value in values])
    panel.set_xlabel(ablation.x.label)
    panel.set_ylabel(metric)
    panel.grid(alpha=0.3)
    if ablation.lines:
        panel.legend(fontsize=8)
    figure.tight_layout()
    save_figure(figure, path)
