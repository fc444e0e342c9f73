"""A grid of experiments that can be stopped and continued.

Each finished cell is a JSON file, and the report of a study gathers them in one file.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mmasl.errors import UserError
from mmasl.files import atomic_file, cpu_name, write_json

_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


def read_cells(folder: Path, file: Path | None = None) -> list[dict]:
    """Return all finished cells. A cell in ``folder`` replaces one of its name in ``file`` that is not of a later day.

    Args:
        folder: It has one JSON file for each cell that ran. It may be absent.
        file: It has one line of JSON for each gathered cell. It may be absent.

    Returns:
        Dicts with ``cell`` (the name), ``spec``, ``result``, ``seconds``, ``machine`` and ``date``, sorted by name.
    """
    lines = file.read_text(encoding='utf-8').splitlines() if file is not None and file.exists() else []
    cells = {cell['cell']: cell for cell in map(json.loads, lines)}
    for path in folder.glob('*.json'):
        try:
            cell = json.loads(path.read_text(encoding='utf-8'))
        except json.JSONDecodeError:  # writing it was interrupted
            continue
        gathered = cells.get(cell['cell'], {})  # the file may have come with a newer checkout
        if (cell.get('date') or '') >= (gathered.get('date') or ''):
            cells[cell['cell']] = cell
    return [cells[name] for name in sorted(cells)]


def finished(cells: dict[str, dict], folder: Path, file: Path | None = None) -> dict[str, dict]:
    """Return the finished ones of ``cells`` as :func:`read_cells` does. A cell is finished if one has an equal spec.

    Args:
        cells: For each name, the specification of a cell: everything that its result depends on, as JSON.
        folder, file: See :func:`read_cells`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = keep_cell(lambda spec: dict(mAP=3.0), folder, 'a', dict(lr=1.0))
        >>> {name: cell['result'] for name, cell in finished(dict(b=dict(lr=1.0), c=dict(lr=2.0)), folder).items()}
        {'b': {'mAP': 3.0}}
    """

    def text(spec):  # equal for 2 and 2.0, and for tuples and lists
        return json.dumps(json.loads(json.dumps(spec), parse_int=float), sort_keys=True)

    kept = {text(cell['spec']): cell for cell in read_cells(folder, file)}
    texts = {name: text(spec) for name, spec in cells.items()}
    return {name: kept[key] for name, key in texts.items() if key in kept}


def gather(folder: Path, file: Path) -> list[dict]:
    """Write all finished cells into ``file``, one line each, and return them; see :func:`read_cells`.

    Raises:
        UserError: If there are none.
    """
    cells = read_cells(folder, file)
    if not cells:
        raise UserError(f'expected finished cells in {folder} or {file}, found none: run the grid first')
    with atomic_file(file) as part:
        text = ''.join(json.dumps(cell, ensure_ascii=False, separators=(',', ':')) + '\n' for cell in cells)
        Path(part).write_text(text, encoding='utf-8')
    return cells


def keep_cell(function: Callable[[dict], dict], folder: Path, name: str, spec: dict) -> dict:
    """Run a cell and write its result. This happens in the process of the cell, so it survives the end of the grid.

    If another grid has run the cell since this one started, its result is returned.
    """
    kept = finished({name: spec}, folder).get(name)
    if kept and kept['cell'] == name:
        return kept
    start = time.perf_counter()
    result = function(spec)
    cell = dict(cell=name, spec=spec, result=result, seconds=round(time.perf_counter() - start, 1))
    cell.update(machine=cpu_name(), date=date.today().isoformat())
    write_json(folder / f'{name}.json', cell)
    return cell


def run_cells(
    cells: dict[str, dict],
    folder: Path,
    function: Callable[[dict], dict],
    workers: int = 2,
    log: Path | None = None,
    slurm: dict | None = None,
) -> Iterator[tuple[str, dict | BaseException]]:
    """Run cells, and keep each result as soon as it is known.

    The processes are single-threaded, so on a machine with ``workers`` cores the cells do not slow each other down.

    Args:
        cells: For each name, the spec that ``function`` takes. The cells start in this order.
        folder: The folder of the files ``<name>.json``. With ``slurm``, every node must see it.
        function: It takes a spec and returns a dict of results. It must be importable in other processes.
        workers: Number of processes, at least 1.
        log: File to which the output of the processes is appended, instead of the terminal.
        slurm: Run every cell as a Slurm job through submitit, with these parameters of its ``AutoExecutor``
            (``slurm_partition``, ``timeout_min``, ...). On a machine without Slurm, submitit uses local processes.

    Yields:
        The name of each cell that ended, with the kept cell or the exception that it raised.

    Raises:
        UserError: With ``slurm`` where submitit is not installed.
    """
    run = partial(keep_cell, function, folder)
    for name, error in (
        _in_processes(run, cells, workers, log) if slurm is None else _in_jobs(run, cells, folder, slurm)
    ):
        yield name, json.loads((folder / f'{name}.json').read_text(encoding='utf-8')) if error is None else error


def run_grid(
    cells: dict[str, dict],
    args: argparse.Namespace,
    function: Callable[[dict], dict],
    describe: Callable[[dict], str],
    slurm: dict | None = None,
) -> int:
    """Run the cells that have no result yet, and print a line for each cell that ends.

    Args:
        cells, function, slurm: See :func:`run_cells`.
        args: The arguments ``cells`` (a folder), ``results`` and ``workers`` of the command; see
            :func:`report.add_paths`. The output of the processes goes to a file beside the folder.
        describe: It returns a short text about the result of a cell.

    Returns:
        The number of cells that failed.
    """
    log = args.cells.parent / f'{args.cells.name}.log'
    done = finished(cells, args.cells, args.results)
    print(f'{len(cells)} cells, {len(done)} of them finished before; output of the others: {log}', flush=True)
    left = {name: spec for name, spec in cells.items() if name not in done}
    start, failures = time.monotonic(), 0
    ended = run_cells(left, args.cells, function, args.workers, log, slurm) if left else ()
    for number, (name, cell) in enumerate(ended, start=1):
        minutes = (time.monotonic() - start) / number * (len(left) - number) / 60
        if isinstance(cell, BaseException):
            failures += 1
            print(f'[{number}/{len(left)}] {name}: {type(cell).__name__}: {cell}', file=sys.stderr, flush=True)
        else:
            line = f'{describe(cell["result"])}  ({cell["seconds"]:.0f} s, {minutes:.0f} min left)'
            print(f'[{number}/{len(left)}] {time.strftime("%H:%M")} {name}: {line}', flush=True)
    return failures


def check_failures(failures: int, args: argparse.Namespace) -> None:
    """Raise if cells of a grid have failed."""
    if failures:
        raise UserError(f'{failures} cells failed; their output is in {args.cells}.log')


def _in_processes(run, left, workers, log):
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, '1'))  # children read them when they import torch
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
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)  # a job finds the same modules as this process
    executor = submitit.AutoExecutor(folder / 'jobs')
    executor.update_parameters(**parameters)
    with executor.batch():  # one job array
        jobs = {executor.submit(run, name, spec): name for name, spec in left.items()}
    for job in submitit.helpers.as_completed(list(jobs), poll_frequency=1):
        yield jobs[job], job.exception()


def _redirect_output(log):
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
