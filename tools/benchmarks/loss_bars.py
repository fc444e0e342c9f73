"""The targets of the loss benchmark, and whether they are met."""

from collections.abc import Iterator

from loss_cases import BCE, CROSS_ENTROPY, FLOOR, WORKLOADS

from mmasl.ops.cpu_library import LEVELS

MMPRETRAIN = 'MMPretrain AsymmetricLoss'
LARGE = ('128x9605', '44800x80', '358400x80', '1024x32000')  # where the time is the kernel's, not the call's
BY_SIZE = ('12500x80', '358400x80', '1250000x80')  # 10^6 to 10^8 logits, class indices


def bars(result: dict) -> list[dict]:
    """Return one entry per target: what is measured, its value, its limit, and whether it is met (None: no limit).

    Times are minima; ratios are those of one workload and regime of one run.
    """
    judge = _on_gpu if result['machine']['gpu'] else _on_cpu
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


def _on_gpu(rows: _Rows) -> Iterator[tuple]:
    ours, large = 'mmasl triton', ('358400x80', '1024x32000')
    for where, value in rows.ratios(large, MMPRETRAIN, ours):
        yield f'{where}: times faster than {MMPRETRAIN}', value, '≥ 15', lambda v: v >= 15
    for workload, limit, least in (('1024x32000', 0.35, 0.85), ('358400x80', 0.25, 0.7)):
        for where, value in rows.ratios((workload,), ours, BCE):
            yield f'{where}: time ÷ {BCE}', value, f'≤ {limit}', lambda v, limit=limit: v <= limit
        for where, value in rows.ratios((workload,), FLOOR, ours):
            yield (
                f'{where}: share of the bandwidth of a copy (float32; half: ≥ 0.5)',
                value,
                f'≥ {least}',
                (lambda v, least=least: v >= least),
            )
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
