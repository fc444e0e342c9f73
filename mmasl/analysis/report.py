"""What reports share: logs, means with spread, tables, and figures that come out the same again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev


def read_scalars(path: Path) -> Iterator[dict]:
    """Yield the entries of MMEngine's JSON logs: of one file, or of all runs in a work directory, the oldest first.

    The last line of a run that is still going on may be incomplete. It is left out.
    """
    for log in [path] if path.is_file() else sorted(path.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def spread(values: Sequence[float]) -> dict:
    """Return the mean and the sample standard deviation, which is None for a single value.

    Example:
        >>> spread([1.0, 3.0])
        {'mean': 2.0, 'std': 1.4142, 'n': 2}
    """
    std = round(stdev(values), 4) if len(values) > 1 else None
    return dict(mean=round(mean(values), 4), std=std, n=len(values))


def plus_minus(value: dict, digits: int = 1, sign: bool = False) -> str:
    """Return the result of :func:`spread` as text.

    Example:
        >>> plus_minus(spread([1.0, 3.0])), plus_minus(spread([1.0]), digits=2, sign=True)
        ('2.0 ± 1.4', '+1.00')
    """
    text = f'{value["mean"]:{"+" if sign else ""}.{digits}f}'
    return text if value['std'] is None else f'{text} ± {value["std"]:.{digits}f}'


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a Markdown table with right-aligned numbers.

    Example:
        >>> print(table(['loss', 'mAP'], [['ASL', '86.6']]))
        | loss | mAP |
        | --- | ---: |
        | ASL | 86.6 |
    """
    lines = [head, ['---'] + ['---:'] * (len(head) - 1), *body]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def pyplot():
    """``matplotlib.pyplot``, set to draw into files, the same bytes every time."""
    import matplotlib

    matplotlib.use('Agg')
    matplotlib.rcParams['svg.hashsalt'] = 'mmasl'
    import matplotlib.pyplot

    return matplotlib.pyplot


def save_figure(figure, path: Path, kinds: Sequence[str] = ('png', 'svg')) -> None:
    """Write ``figure`` as ``path``.png and ``path``.svg, or those of ``kinds`` (its folder is made), and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in kinds:  # not with_suffix: a name may have a dot in it
        figure.savefig(f'{path}.{kind}', dpi=130, metadata=dict(Date=None) if kind == 'svg' else None)
    pyplot().close(figure)
