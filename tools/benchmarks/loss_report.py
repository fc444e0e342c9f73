"""The stored runs of the benchmarks and their machine; tables, figure, targets and comparison of the loss benchmark."""

import json
import os
import re
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import torch
from loss_cases import BCE, CROSS_ENTROPY, FLOOR, WORKLOADS

from mmasl.analysis.report import pyplot, save_figure
from mmasl.files import atomic_file, cpu_name
from mmasl.ops.cpu_library import LEVELS

RESULTS = Path(__file__).resolve().parent / 'results' / 'runs.jsonl'
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


def read_runs(file: Path, benchmark: str | None = None) -> list[dict]:
    """Return the runs in ``file``, all or those of one benchmark; none if the file is absent."""
    runs = map(json.loads, file.read_text(encoding='utf-8').splitlines() if file.exists() else ())
    return [run for run in runs if benchmark in (None, run['benchmark'])]


def keep_run(file: Path, benchmark: str, run: dict) -> None:
    """Write a run into ``file``; it replaces an earlier run of the same benchmark, machine, threads and dtype.

    Args:
        file: A file with one line of JSON per run.
        benchmark: The name of the benchmark.
        run: The measurements, and under ``machine`` what :func:`machine` returns.
    """
    runs = {(each['benchmark'], run_name(each)): each for each in [*read_runs(file), dict(benchmark=benchmark, **run)]}
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


MMPRETRAIN = 'MMPretrain AsymmetricLoss'
LARGE = ('128x9605', '44800x80', '358400x80', '1024x32000')  # where the time is the kernel's, not the call's
BY_SIZE = ('12500x80', '358400x80', '1250000x80')  # 10^6 to 10^8 logits, class indices


def bars(result: dict) -> list[dict]:
    """Return one entry per target: what is measured, its value, its limit, and whether it is met (None: no limit).

    Times are minima; ratios are those of one workload and regime of one run.
    """
    half = result.get('dtype', 'float32') != 'float32'
    judge = partial(_on_gpu, half=half) if result['machine']['gpu'] else _on_cpu
    return [
        {'what': what, 'value': value, 'bar': bar, 'met': None if limit is None else bool(limit(value))}
        for what, value, bar, limit in judge(_Rows(result['rows']))
    ]


def bar_table(entries: list[dict]) -> str:
    verdict = {True: 'met', False: '**missed**', None: 'no limit'}
    lines = ['| quantity | limit | measured | |', '|---|---|---|---|']
    lines += [f'| {e["what"]} | {e["bar"]} | {e["value"]:.2f} | {verdict[e["met"]]} |' for e in entries]
    return '\n'.join(lines) + '\n'


class _Rows:
    """Looks rows up by workload, regime and contender."""

    def __init__(self, rows: list[dict]):
        self.rows = {(row['workload'], row['regime'], row['contender']): row for row in rows}

    def ratio(self, workload: str, regime: str, ours: str, peer: str, key: str = 'ns_min') -> float | None:
        pair = [self.rows.get((workload, regime, name), {}).get(key) for name in (ours, peer)]
        return None if None in pair else pair[0] / pair[1]

    def ratios(self, workloads: tuple[str, ...], ours: str, peer: str, key: str = 'ns_min') -> Iterator[tuple]:
        """Yield (where, ratio) for every regime in which both were measured."""
        for workload in workloads:
            for regime in WORKLOADS[workload].regimes:
                value = self.ratio(workload, regime, ours, peer, key)
                if value is not None:
                    yield f'{workload}, {regime}', value

    def largest(self, ours: str, key: str, workloads: tuple[str, ...]) -> float | None:
        values = [row[key] for at, row in self.rows.items() if at[2] == ours and at[0] in workloads and key in row]
        return max(values, default=None)

    def deviation_by_size(self, ours: str) -> float | None:
        """Return the largest relative deviation of the ratio to a copy from its median, over 10^6 to 10^8 logits."""
        values = sorted(v for w in BY_SIZE if (v := self.ratio(w, 'trained', ours, FLOOR)) is not None)
        return max(abs(v / values[1] - 1) for v in values) if len(values) == len(BY_SIZE) else None


def _on_cpu(rows: _Rows) -> Iterator[tuple]:
    levels = [f'mmasl cpu, {level}' for level in reversed(LEVELS)]
    fastest = next((name for name in levels if rows.largest(name, 'ns_min', tuple(WORKLOADS)) is not None), '')
    for where, value in rows.ratios(('128x9605', '44800x80'), MMPRETRAIN, fastest):
        yield f'{where}: times faster than {MMPRETRAIN}', value, '≥ 8', lambda v: v >= 8
    for level, limit in (('AVX-512', 0.8), ('AVX2', 1.0)):
        for where, value in rows.ratios(LARGE, f'mmasl cpu, {level}', BCE):
            yield f'{where}, {level}: time ÷ {BCE}', value, f'≤ {limit}', lambda v, limit=limit: v <= limit
    for where, value in rows.ratios(('128x80',), fastest, BCE):
        yield f'{where}: time ÷ {BCE}', value, '≤ 1.2', lambda v: v <= 1.2
    for level in ('AVX2', 'baseline'):
        for where, value in rows.ratios(('128x80',), f'mmasl cpu, {level}', BCE):
            yield f'{where}, {level}: time ÷ {BCE}', value, '', None
    for where, value in rows.ratios(LARGE, fastest, FLOOR):
        yield f'{where}: time ÷ {FLOOR}', value, '', None
    for where, value in rows.ratios(('128x80', '128x9605', '44800x80'), 'mmasl plain', MMPRETRAIN):
        yield f'{where}, plain torch: time ÷ {MMPRETRAIN}', value, '≤ 0.6', lambda v: v <= 0.6
    for key, what, limit in (
        ('peak_memory', 'peak memory ÷ logits, gradient included', 1.1),
        ('peak_memory_scaled', 'the same with an upstream gradient of 2', 2.1),
    ):
        if (value := rows.largest(fastest, key, LARGE)) is not None:
            yield what, value, f'≤ {limit}', lambda v, limit=limit: v <= limit
    if (value := rows.deviation_by_size(fastest)) is not None:
        yield f'10⁶ to 10⁸ logits: deviation of time ÷ {FLOOR}', value, '≤ 0.3', lambda v: v <= 0.3
    yield from _softmax(rows, fastest)


def _on_gpu(rows: _Rows, half: bool) -> Iterator[tuple]:
    ours, large = 'mmasl triton', ('358400x80', '1024x32000')
    for where, value in rows.ratios(large, MMPRETRAIN, ours):
        yield f'{where}: times faster than {MMPRETRAIN}', value, '≥ 15', lambda v: v >= 15
    # A pass moves more bytes a logit than the copy, because the backward pass reads the inputs again.
    dense, index = (14 / 6, 6.2 / 4) if half else (20 / 12, 12.2 / 8)
    for workload, limit, least, more in (('1024x32000', 0.35, 0.85, dense), ('358400x80', 0.25, 0.7, index)):
        for where, value in rows.ratios((workload,), ours, BCE):
            yield f'{where}: time ÷ {BCE}', value, f'≤ {limit}', lambda v, limit=limit: v <= limit
        least = 0.5 if half else least
        for where, value in rows.ratios((workload,), FLOOR, ours):
            share = value * more
            yield f'{where}: share of the bandwidth of a copy', share, f'≥ {least}', lambda v, least=least: v >= least
    for where, value in rows.ratios(('128x80',), ours, BCE):
        yield f'{where}, graph replay: time ÷ {BCE}', value, '≤ 0.7', lambda v: v <= 0.7
    for where, value in rows.ratios(('128x80',), ours, BCE, 'ns_eager'):
        yield f'{where}, eager: time ÷ {BCE}', value, '≤ 1.2', lambda v: v <= 1.2
    if (value := rows.largest(ours, 'peak_memory', large)) is not None:
        yield 'peak memory ÷ logits, gradient included', value, '≤ 1.05', lambda v: v <= 1.05
    if (value := rows.deviation_by_size(ours)) is not None:
        yield f'10⁶ to 10⁸ logits: deviation of time ÷ {FLOOR}', value, '≤ 0.3', lambda v: v <= 0.3
    yield from _softmax(rows, ours)


def _softmax(rows: _Rows, ours: str) -> Iterator[tuple]:
    """Yield the ratios of the single-label loss, which have no limits."""
    for peer in (CROSS_ENTROPY, 'torch cross_entropy, smoothing', 'timm AsymmetricLossSingleLabel', FLOOR):
        for where, value in rows.ratios(('softmax 128x1000', 'softmax 1024x32000'), ours, peer):
            yield f'{where}: time ÷ {peer}', value, '', None
