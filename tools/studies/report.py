"""What the reports of all studies share: where cells and pages are, cells of several seeds, tables in pages."""

import argparse
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path

from experiment import ROOT

from mmasl.analysis.report import plus_minus, save_figure, spread

RESULTS = Path(__file__).resolve().parent / 'results'


def add_paths(parser: argparse.ArgumentParser, name: str, page: Path | None = None) -> None:
    """Add the arguments that say where the cells, the page and the figures of the study ``name`` are."""
    parser.add_argument(
        '--cells',
        type=Path,
        default=ROOT / 'work_dirs' / 'studies' / name,
        help='folder of the cells that have run since they were gathered (default: %(default)s)',
    )
    parser.add_argument(
        '--results', type=Path, default=RESULTS / f'{name}.jsonl', help='file that the report gathers the cells in'
    )
    parser.add_argument('--images', type=Path, default=ROOT / 'docs' / 'images', help='report: folder of its figures')
    if page is not None:
        parser.add_argument('--page', type=Path, default=page, help='report: page that its tables are written into')


def by_seed(cells: list[dict], key: Callable[[dict], Hashable]) -> dict[Hashable, dict[int, dict]]:
    """Group cells by what ``key`` says of their specification; a group has its cells by their seeds.

    Raises:
        ValueError: If the cells of a group differ in more than the seed.
    """
    groups = defaultdict(dict)
    for cell in sorted(cells, key=lambda cell: cell['spec']['seed']):
        groups[key(cell['spec'])][cell['spec']['seed']] = cell
    for name, group in groups.items():
        settings = [{k: v for k, v in cell['spec'].items() if k != 'seed'} for cell in group.values()]
        if any(setting != settings[0] for setting in settings):
            raise ValueError(f'cells of {name} were made with different settings: run the grid again')
    return dict(groups)


def values(group: dict[int, dict], measure: str) -> dict:
    """The mean and the standard deviation over the seeds of a group."""
    return spread([cell['result'][measure] for cell in group.values()])


def difference(group: dict[int, dict], baseline: dict[int, dict], measure: str) -> dict | None:
    """The differences of two groups, paired by seed, and how many are ``better``; None if no seed is in both."""
    paired = [
        cell['result'][measure] - baseline[seed]['result'][measure] for seed, cell in group.items() if seed in baseline
    ]
    return dict(**spread(paired), better=sum(d > 0 for d in paired)) if paired else None


def difference_text(group: dict[int, dict], baseline: dict[int, dict], measure: str) -> str:
    """The paired differences as a table shows them: ``+0.3 ± 0.8 (3/5)``, nothing for the baseline itself."""
    paired = None if group is baseline else difference(group, baseline, measure)
    return f'{plus_minus(paired, sign=True)} ({paired["better"]}/{paired["n"]})' if paired else ''


def write_page(page: Path, tables: dict[str, str], command: str) -> None:
    """Put each table between its two markers in ``page``; where they are missing it gets a section at the end.

    Args:
        page: A Markdown file, which is made if it is missing.
        tables: For each name, which is in the markers, the text.
        command: What writes them, for the markers.

    Raises:
        ValueError: If the page has one marker of a table without the other.
    """
    document = page.read_text(encoding='utf-8') if page.exists() else '# Results\n'
    for name, text in tables.items():
        begin, end = f'<!-- {name}: begin (written by {command}) -->', f'<!-- {name}: end -->'
        if begin not in document and end not in document:
            document += f'\n## {name}\n\n{begin}\n{end}\n'
        first, last = document.find(begin), document.find(end)
        if not 0 <= first < last:
            raise ValueError(f'{page}: expected a line {begin!r} and after it a line {end!r}')
        document = f'{document[: first + len(begin)]}\n\n{text}\n\n{document[last:]}'
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(document, encoding='utf-8')


def write_figure(figure, images: Path, name: str, page: Path) -> str:
    """Write ``figure`` as ``images``/``name``.png, and return the Markdown that shows it in ``page``."""
    save_figure(figure, images / name, kinds=['png'])
    return f'![{name}]({Path(os.path.relpath(images / f"{name}.png", page.parent)).as_posix()})'
