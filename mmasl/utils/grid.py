"""A grid of experiments that can be stopped and continued: one JSON file for each finished cell."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


def write_json(path: Path, content) -> None:
    """Write ``content`` to ``path`` so that a reader, or a run that was killed, never sees half of it.

    Args:
        path: The file; its folder is made.
        content: Anything that JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile('w', dir=path.parent, suffix='.part', delete=False) as file:
        json.dump(content, file, indent=1)
        file.write('\n')
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def read_cell(folder: Path, name: str, spec: dict) -> dict | None:
    """Return the kept result of a cell, or None if it has none or one of another ``spec``.

    Args:
        folder: Where the cells are kept.
        name: The cell's name, which is its file's.
        spec: All that the result depends on, as JSON holds it.

    Returns:
        A dict with ``spec``, ``result`` and ``seconds``, or None.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_json(folder / 'a.json', dict(spec=dict(lr=1.0), result=dict(mAP=3.0), seconds=2.0))
        >>> read_cell(folder, 'a', dict(lr=1.0))['result'], read_cell(folder, 'a', dict(lr=2.0))
        ({'mAP': 3.0}, None)
    """
    try:
        cell = json.loads((folder / f'{name}.json').read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return cell if cell['spec'] == spec else None


def run_cells(
    cells: dict[str, dict],
    folder: Path,
    function: Callable[[dict], dict],
    workers: int = 2,
    log: Path | None = None,
) -> Iterator[tuple[str, dict | Exception]]:
    """Run the cells that have no result yet, and keep each result as soon as it is there.

    The processes are single-threaded: on a machine with ``workers`` cores the cells do not disturb each other.

    Args:
        cells: For each name the spec that ``function`` takes; they start in this order.
        folder: Where ``<name>.json`` is kept for each cell.
        function: Takes a spec, returns a dict of results; an importable function, as it is called in other processes.
        workers: Number of processes, at least 1.
        log: File to which the output of the processes is appended, instead of the terminal.

    Yields:
        The name of each cell that ended, and what ``read_cell`` now returns for it, or the exception it raised.

    Raises:
        ValueError: If ``workers`` < 1.
    """
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    left = {name: spec for name, spec in cells.items() if read_cell(folder, name, spec) is None}
    if not left:
        return
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, '1'))  # read when a child imports torch
    executor = ProcessPoolExecutor(
        min(workers, len(left)), mp_context=get_context('spawn'), initializer=_redirect_output, initargs=(log,)
    )
    try:
        futures = {executor.submit(_timed, function, spec): name for name, spec in left.items()}
        for future in as_completed(futures):
            name = futures[future]
            error = future.exception()
            if error is not None:
                yield name, error
                continue
            result, seconds = future.result()
            cell = dict(spec=left[name], result=result, seconds=round(seconds, 1))
            write_json(folder / f'{name}.json', cell)
            yield name, cell
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _redirect_output(log):
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _timed(function, spec):
    start = time.perf_counter()
    return function(spec), time.perf_counter() - start
