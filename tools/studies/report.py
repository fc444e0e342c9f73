"""What all studies share: the arguments for files, statistics over seeds, and tables in pages."""

import argparse
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path

from experiment import ROOT

from mmasl.analysis.report import plus_minus, save_figure, spread
from mmasl.errors import UserError, positive

RESULTS = Path(__file__).resolve().parent / 'results'


def add_paths(parser: argparse.ArgumentParser, name: str, page: Path | None = None, figures: bool = True) -> None:
    """Add the number of workers, and the places of the cells, the page and the figures of the study ``name``."""
    parser.add_argument('--workers', type=positive, default=2, help='single-thread processes at a time (default: 2)')
    parser.add_argument(
        '--cells',
        type=Path,
        default=ROOT / 'work_dirs' / 'studies' / name,
        help='folder of the cells that are not gathered yet (default: %(default)s)',
    )
    parser.add_argument('--results', type=Path, default=RESULTS / f'{name}.jsonl', help='file of the gathered cells')
    if figures:
        images = ROOT / 'docs' / 'images'
        parser.add_argument('--images', type=Path, default=images, help='report: folder of the figures')
    if page is not None:
        parser.add_argument('--page', type=Path, default=page, help='report: page with the tables')


def by_seed(cells: list[dict], key: Callable[[dict], Hashable]) -> dict[Hashable, dict[int, dict]]:
    """Group cells by ``key`` of their specifications. A group has its cells by seed.

    Raises:
        UserError: If the specifications of a group differ in more than the seed.
    """
    groups = defaultdict(dict)
    for cell in sorted(cells, key=lambda cell: cell['spec']['seed']):
        groups[key(cell['spec'])][cell['spec']['seed']] = cell
    for name, group in groups.items():
        settings = [{k: v for k, v in cell['spec'].items() if k != 'seed'} for cell in group.values()]
        if any(setting != settings[0] for setting in settings):
            raise UserError(f'cells of {name} were made with different settings: run the grid again')
    return dict(groups)


def values(group: dict[int, dict], measure: str) -> dict:
    """Return the mean and the standard deviation of a measure over the seeds of a group."""
    return spread([cell['result'][measure] for cell in group.values()])


def difference(group: dict[int, dict], baseline: dict[int, dict], measure: str) -> dict | None:
    """Return the spread of the differences of two groups, paired by seed, and how many are positive (``better``).

    The result is None if no seed is in both groups.
    """
    paired = [
        cell['result'][measure] - baseline[seed]['result'][measure] for seed, cell in group.items() if seed in baseline
    ]
    return dict(**spread(paired), better=sum(d > 0 for d in paired)) if paired else None


def difference_text(group: dict[int, dict], baseline: dict[int, dict], measure: str) -> str:
    """Return the paired differences as in ``+0.3 ± 0.8 (3/5)``, or nothing for the baseline itself."""
    paired = None if group is baseline else difference(group, baseline, measure)
    return f'{plus_minus(paired, sign=True)} ({paired["better"]}/{paired["n"]})' if paired else ''


def write_page(page: Path, tables: dict[str, str], command: str) -> None:
    """Write each table between its two markers in ``page``. A table without markers gets a section at the end.

    Args:
        page: A Markdown file. It is created if it does not exist.
        tables: The text of each table, by the name in its markers.
        command: The command in the markers.

    Raises:
        UserError: If one of the two markers of a table is missing.
    """
    document = page.read_text(encoding='utf-8') if page.exists() else '# Results\n'
    for name, text in tables.items():
        begin, end = f'<!-- {name}: begin (written by {command}) -->', f'<!-- {name}: end -->'
        if begin not in document and end not in document:
            document += f'\n## {name}\n\n{begin}\n{end}\n'
        first, last = document.find(begin), document.find(end)
        if not 0 <= first < last:
            raise UserError(f'{page}: expected a line {begin!r} and after it a line {end!r}')
        document = f'{document[: first + len(begin)]}\n\n{text}\n\n{document[last:]}'
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(document, encoding='utf-8')


def write_figure(figure, images: Path, name: str, page: Path) -> str:
    """Write ``figure`` as ``images``/``name``.png, and return the Markdown that shows it in ``page``."""
    save_figure(figure, images / name, kinds=['png'])
    return f'![{name}]({Path(os.path.relpath(images / f"{name}.png", page.parent)).as_posix()})'
