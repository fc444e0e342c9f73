"""The tables and the figure of an ablation. Points are what ``ablation.measured`` returns."""

import itertools

from mmasl.analysis.report import plus_minus, pyplot, table

# Each row of Table 2 is the best point (x, line) of an ablation that fulfils a condition.
TABLE_2 = {
    'FL': ('fig5', lambda x, line: x > 0),
    'FL + linear weighting': ('weighting', lambda x, line: True),
    'Focusing (ASL)': ('asymmetries', lambda x, line: line == 0),
    'Probability margin (ASL)': ('fig7', lambda x, line: x > 0 and line > 0),
    'Focusing + Probability margin (ASL)': ('asymmetries', lambda x, line: line > 0),
}


def markdown(points: list[dict], ablation, metrics: list[str]) -> str:
    """Return the table: a row for each value along x, and columns for each line, whose best value is bold."""
    lines = list(dict.fromkeys(point['line'] for point in points))
    at = {(point['x'], point['line']): point for point in points}
    best = [max((p for p in points if p['line'] == line), key=lambda p: p[metrics[0]]['mean']) for line in lines]
    of_line = {line: '' if line is None else f', {ablation.lines.label} = {label(line)}' for line in lines}
    head = [ablation.x.label, *(f'{metric}{of_line[line]}' for line in lines for metric in metrics)]
    body = []
    for x in dict.fromkeys(point['x'] for point in points):
        row = [label(x)]
        for line, metric in itertools.product(lines, metrics):
            point = at.get((x, line))
            text = f'{plus_minus(point[metric], 2)} ({point[metric]["n"]})' if point else ''
            row.append(f'**{text}**' if point in best and metric == metrics[0] else text)
        body.append(row)
    return table(head, body)


def table_2(found: dict[str, list[dict]], ablations: dict, metric: str) -> str | None:
    """Return Table 2, or None if the trials of one of its rows are not finished."""
    rows = []
    for name, (source, belongs) in TABLE_2.items():
        points = [point for point in found.get(source, []) if belongs(point['x'], point['line'])]
        if not points:
            return None
        point, ablation = max(points, key=lambda point: point[metric]['mean']), ablations[source]
        setting = f'{ablation.x.label} = {label(point["x"])}'
        if ablation.lines:
            setting += f', {ablation.lines.label} = {label(point["line"])}'
        rows.append([name, f'{plus_minus(point[metric], 2)} ({point[metric]["n"]})', setting])
    return table(['method', metric, 'best at'], rows)


def label(value) -> str:
    """Return a value of an axis as text."""
    return f'{value:g}' if isinstance(value, float) else str(value)


def draw(points: list[dict], ablation, metric: str):
    """Draw ``metric`` against the values along x, with the spread over seeds as bars."""
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
    return figure
