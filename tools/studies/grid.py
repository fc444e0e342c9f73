"""A grid of experiments that can be stopped and continued: one JSON file for each finished cell."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mmasl.errors import UserError
from mmasl.files import write_json

_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


def read_cell(folder: Path, name: str, spec: dict) -> dict | None:
    """Return the kept result of a cell, or None if it has none or one of another ``spec``.

    Args:
        folder: Where the cells are kept.
        name: The cell's name, which is its file's.
        spec: All that the result depends on; JSON can hold it.

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
    return cell if cell['spec'] == json.loads(json.dumps(spec)) else None  # tuples are lists there


def run_cells(
    cells: dict[str, dict],
    folder: Path,
    function: Callable[[dict], dict],
    workers: int = 2,
    log: Path | None = None,
    slurm: dict | None = None,
) -> Iterator[tuple[str, dict | BaseException]]:
    """Run the cells that have no result yet; each keeps its result as soon as it is there.

    The processes are single-threaded: on a machine with ``workers`` cores the cells do not disturb each other.

    Args:
        cells: For each name the spec that ``function`` takes; they start in this order.
        folder: Where ``<name>.json`` is kept for each cell; with ``slurm``, one that every node sees.
        function: Takes a spec, returns a dict of results; an importable function, as it is called in other processes.
        workers: Number of processes, at least 1.
        log: File to which the output of the processes is appended, instead of the terminal.
        slurm: Run every cell as a Slurm job instead, through submitit, with these parameters of its ``AutoExecutor``
            (``slurm_partition``, ``timeout_min``, ...). Without Slurm on this machine submitit uses local processes.

    Yields:
        The name of each cell that ended, and what ``read_cell`` now returns for it, or the exception it raised.

    Raises:
        ValueError: If ``workers`` < 1.
        UserError: With ``slurm`` where submitit is not installed.
    """
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    left = {name: spec for name, spec in cells.items() if read_cell(folder, name, spec) is None}
    if not left:
        return
    run = partial(_run_and_keep, function, folder)
    ended = _in_processes(run, left, workers, log) if slurm is None else _in_jobs(run, left, folder, slurm)
    for name, error in ended:
        yield name, read_cell(folder, name, left[name]) if error is None else error


def run_grid(
    cells: dict[str, dict],
    folder: Path,
    function: Callable[[dict], dict],
    describe: Callable[[dict], str],
    **options,
) -> int:
    """Run what is left of ``cells`` with a line for each that ends, ``describe(result)`` in it.

    Args:
        cells, folder, function: See :func:`run_cells`.
        describe: Says what came of a cell, from its result.
        **options: ``workers``, ``log`` and ``slurm`` of :func:`run_cells`.

    Returns:
        The number of cells that failed.
    """
    left = sum(read_cell(folder, name, spec) is None for name, spec in cells.items())
    print(f'{len(cells)} cells, {len(cells) - left} of them finished before', flush=True)
    start, failures = time.monotonic(), 0
    for number, (name, cell) in enumerate(run_cells(cells, folder, function, **options), start=1):
        minutes = (time.monotonic() - start) / number * (left - number) / 60
        if isinstance(cell, BaseException):
            failures += 1
            print(f'[{number}/{left}] {name}: {type(cell).__name__}: {cell}', file=sys.stderr, flush=True)
        else:
            line = f'{describe(cell["result"])}  ({cell["seconds"]:.0f} s, {minutes:.0f} min left)'
            print(f'[{number}/{left}] {time.strftime("%H:%M")} {name}: {line}', flush=True)
    return failures


def _in_processes(run, left, workers, log):
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, '1'))  # read when a child imports torch
    executor = ProcessPoolExecutor(
        min(workers, len(left)), mp_context=get_context('spawn'), initializer=_redirect_output, initargs=(log,)
    )
    try:
        futures = {executor.submit(run, name, spec): name for name, spec in left.items()}
        for future in as_completed(futures):
            yield futures[future], future.exception()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_jobs(run, left, folder, parameters):
    try:
        import submitit
    except ImportError as error:
        raise UserError('Slurm jobs need submitit: pip install submitit') from error
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)  # a job finds the modules that this process finds
    executor = submitit.AutoExecutor(folder / 'jobs')
    executor.update_parameters(**parameters)
    with executor.batch():  # one job array
        jobs = {executor.submit(run, name, spec): name for name, spec in left.items()}
    for job in submitit.helpers.as_completed(list(jobs), poll_frequency=1):
        yield jobs[job], job.exception()


def _run_and_keep(function, folder, name, spec):
    """Runs where the cell runs: what is finished is kept even if whoever started it is gone."""
    start = time.perf_counter()
    result = function(spec)
    write_json(folder / f'{name}.json', dict(spec=spec, result=result, seconds=round(time.perf_counter() - start, 1)))


def _redirect_output(log):
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
