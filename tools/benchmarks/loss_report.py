"""The files of the benchmarks' results and their machine; the table, figure and comparison of the loss benchmark."""

import json
import os
import re
from datetime import date
from pathlib import Path

import torch
from loss_cases import BCE, CROSS_ENTROPY, FLOOR

from mmasl.analysis.report import pyplot, save_figure
from mmasl.files import atomic_file, cpu_name

RESULTS = Path(__file__).resolve().parent / 'results'
RATIOS = {'BCE': BCE, 'cross_entropy': CROSS_ENTROPY, 'MMPretrain': 'MMPretrain AsymmetricLoss', 'copy': FLOOR}


def machine(device: str, threads: int) -> dict:
    """Describe the machine of a measurement."""
    cpu = cpu_name()
    name = torch.cuda.get_device_name() if device == 'cuda' else cpu
    return {
        'name': re.sub(r'[^\w.]+', '-', name).strip('-').lower(),
        'cpu': cpu,
        'capability': torch.backends.cpu.get_cpu_capability(),
        'gpu': torch.cuda.get_device_name() if device == 'cuda' else None,
        'cores': os.cpu_count(),
        'threads': threads,
        'load': os.getloadavg()[0],
        'torch': torch.__version__,
        'date': date.today().isoformat(),
    }


def read_runs(file: Path) -> list[dict]:
    """Return the runs in ``file``, one per line; none if the file is absent."""
    return [json.loads(line) for line in file.read_text(encoding='utf-8').splitlines()] if file.exists() else []


def keep_run(file: Path, run: dict) -> None:
    """Write a run into ``file``; it replaces an earlier run of the same machine, threads and dtype.

    Args:
        file: A file with one line of JSON per run.
        run: The measurements, and under ``machine`` what :func:`machine` returns.
    """
    runs = {run_name(other): other for other in [*read_runs(file), run]}
    with atomic_file(file) as part:
        text = ''.join(json.dumps(runs[name]) + '\n' for name in sorted(runs))
        Path(part).write_text(text, encoding='utf-8')


def run_name(run: dict) -> str:
    """Return the name of a run: its machine, its threads, and its dtype if that is not float32."""
    info = run['machine']
    parts = [info['name'], '' if info['gpu'] else f'{info["threads"]}threads', run.get('dtype', 'float32')]
    return '-'.join(part for part in parts if part not in ('', 'float32'))


def ratios(rows: list[dict], key: str = 'ns_min') -> dict[tuple, dict[str, float]]:
    """Return ``{(workload, regime, contender): {peer: ratio of times}}``; times are minima, as noise only adds time."""
    times = {(row['workload'], row['regime'], row['contender']): row[key] for row in rows}
    return {
        at: {short: time / times[(*at[:2], peer)] for short, peer in RATIOS.items() if (*at[:2], peer) in times}
        for at, time in times.items()
    }


def processor(info: dict) -> str:
    """Return the GPU in words, or the CPU with its instruction set and number of threads."""
    threads = '1 thread' if info['threads'] == 1 else f'{info["threads"]} threads'
    return info['gpu'] or f'{info["cpu"]} ({info["capability"]}, {threads})'


def table(result: dict) -> str:
    """Return Markdown with one section per workload and regime."""
    info = result['machine']
    lines = [f'These times were measured on {processor(info)} with torch {info["torch"]} on {info["date"]}.']
    ratio = ratios(result['rows'])
    section = None
    for row in result['rows']:
        at = (row['workload'], row['regime'], row['contender'])
        if at[:2] != section:
            section, peers = at[:2], list(ratio[at])
            lines += [
                '',
                f'### {row["workload"]}, {row["regime"]} logits',
                '',
                '| | ns/logit: median | min | max | peak memory / logits | '
                + ' | '.join(f'÷ {peer}' for peer in peers)
                + ' |',
                '|---|' + '---|' * (4 + len(peers)),
            ]
        cells = [f'{row[key]:.2f}' for key in ('ns_median', 'ns_min', 'ns_max', 'peak_memory')]
        cells += [f'{ratio[at][peer]:.2f}' for peer in peers]
        lines.append(f'| {row["contender"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def draw(result: dict, path: Path) -> None:
    """Draw bars of the medians with the range from minimum to maximum, as ``path``.png."""
    sections = list(dict.fromkeys((row['workload'], row['regime']) for row in result['rows']))
    columns = min(2, len(sections))
    lines = -(-len(sections) // columns)
    figure, axes = pyplot().subplots(lines, columns, figsize=(7.5 * columns, 3.2 * lines), squeeze=False)
    for axis in axes.flat[len(sections) :]:
        axis.remove()
    for axis, section in zip(axes.flat, sections, strict=False):
        rows = [row for row in result['rows'] if (row['workload'], row['regime']) == section][::-1]
        median = [row['ns_median'] for row in rows]
        span = [
            [row['ns_median'] - row['ns_min'] for row in rows],
            [row['ns_max'] - row['ns_median'] for row in rows],
        ]
        colours = ['tab:orange' if row['contender'].startswith('mmasl') else 'tab:gray' for row in rows]
        axis.barh([row['contender'] for row in rows], median, xerr=span, color=colours, ecolor='black', capsize=2)
        axis.set(xscale='log', xlabel='ns per logit, forward + backward', title=f'{section[0]}, {section[1]} logits')
    figure.tight_layout()
    save_figure(figure, path, kinds=['png'])


def compare(old: dict, new: dict, tolerance: float) -> list[str]:
    """Return a line for each of our backends whose ratio to a peer changed by more than ``tolerance``."""
    before, after = ratios(old['rows']), ratios(new['rows'])
    return [
        f'{" ".join(at)}: ratio to {peer} {before[at][peer]:.2f} -> {value:.2f}'
        for at, values in after.items()
        if at[2].startswith('mmasl') and at in before
        for peer, value in values.items()
        if peer in before[at] and abs(value / before[at][peer] - 1) > tolerance
    ]
