"""Times forward + backward of the contenders in turns, and measures their peak memory."""

import statistics
import time
from collections.abc import Callable

import torch
from loss_cases import FLOOR, Case

from mmasl import testing

LEAST_SECONDS = 2e-3  # least length of a timed sample; short steps are repeated
LEAST_ROUNDS, MOST_ROUNDS = 4, 101
LONG_STEP = 0.05  # seconds; a longer step needs one warm-up only


def step_of(case: Case, name: str, upstream: float = 1.0) -> Callable[[], object]:
    """Return a function that runs forward and backward of a contender with a fresh gradient, or the copy."""
    function = case.contenders[name]
    if name == FLOOR:
        return lambda: function(case.pred, case.target)

    def step():
        case.pred.grad = None
        loss = function(case.pred, case.target)
        (loss if upstream == 1 else upstream * loss).backward()

    return step


def measure(case: Case, seconds: float, rounds: int | None, launched: tuple[str, ...] = ()) -> list[dict]:
    """Return a row for each contender: the median, minimum and maximum of ns per logit over the rounds, and memory.

    ``captured`` says of a GPU's times whether they are those of a CUDA graph, and ``ns_eager``, for the contenders
    ``launched``, is the time with all launches.
    """
    times, rows = time_interleaved(case, seconds, rounds), []
    for name, samples in times.items():
        per_logit = sorted(1e9 * sample / case.numel for sample in samples)
        row = dict(workload=case.workload, regime=case.regime, contender=name, rounds=len(per_logit))
        row |= dict(ns_median=statistics.median(per_logit), ns_min=per_logit[0], ns_max=per_logit[-1])
        row |= dict(peak_memory=peak_memory(case, name))
        row |= dict(captured=name in case.captured) if case.pred.is_cuda else {}
        rows.append(row)
    if case.pred.is_cuda:
        eager = eager_seconds(case, [name for name in times if name in launched])
        for row in rows:
            if row['contender'] in eager:
                row['ns_eager'] = 1e9 * eager[row['contender']] / case.numel
    return rows


def time_interleaved(case: Case, seconds: float, rounds: int | None = None) -> dict[str, list[float]]:
    """Return the seconds of one step, one sample per round for each contender; every other round is in reverse order.

    It runs as many rounds as fit in ``seconds``, between :data:`LEAST_ROUNDS` and :data:`MOST_ROUNDS`, or exactly
    ``rounds``. On a GPU it replays a step from a CUDA graph if the step can be captured, and otherwise runs it eagerly;
    ``case.captured`` gets the names of those that it replays.
    """
    timers = {}
    for name in case.contenders:
        step = step_of(case, name)
        replay = capture(step) if case.pred.is_cuda else None
        case.captured += [name] if replay else []
        timers[name] = _cuda_timer(replay or step) if case.pred.is_cuda else _cpu_timer(step)
    samples = {name: [] for name in timers}
    least, most = (rounds, rounds) if rounds else (LEAST_ROUNDS, MOST_ROUNDS)
    start = time.perf_counter()
    for round_ in range(most):
        if round_ >= least and time.perf_counter() - start > seconds:
            break
        for name in list(timers)[:: -1 if round_ % 2 else 1]:
            samples[name].append(timers[name]())
    return samples


def eager_seconds(case: Case, names: list[str]) -> dict[str, float]:
    """Return the least wall time of one step on a GPU, launches included, over interleaved repeats."""
    steps = {name: step_of(case, name) for name in names}
    best = dict.fromkeys(names, float('inf'))
    for _ in range(MOST_ROUNDS):
        for name, step in steps.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _cpu_timer(step: Callable) -> Callable[[], float]:
    start = time.perf_counter()
    step()
    if time.perf_counter() - start > LONG_STEP:
        times = 1
    else:
        step()
        start = time.perf_counter()
        step()
        times = max(1, int(LEAST_SECONDS / (time.perf_counter() - start)))

    def sample() -> float:
        start = time.perf_counter()
        for _ in range(times):
            step()
        return (time.perf_counter() - start) / times

    return sample


def _cuda_timer(run: Callable) -> Callable[[], float]:
    def seconds(times: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / times

    seconds(1)
    times = max(1, int(LEAST_SECONDS / max(seconds(10), 1e-6)))  # else a short step is timed with its launch
    return lambda: seconds(times)


def capture(step: Callable) -> Callable[[], None] | None:
    """Return a replay of the step from a CUDA graph; None if it cannot be captured, as a step that synchronises.

    A step that synchronises is found beforehand, because torch up to 2.11 can capture nothing more in a process in
    which a capture has failed.
    """
    current, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode('error')
        step()
        torch.cuda.set_sync_debug_mode('default')
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    except RuntimeError:
        torch.cuda.set_sync_debug_mode('default')
        torch.cuda.set_stream(current)
        torch.cuda.synchronize()
        return None
    return graph.replay


def peak_memory(case: Case, name: str, upstream: float = 1.0) -> float:
    """Return a step's peak memory beyond inputs and targets, with the gradient, divided by the logits' bytes."""
    step = step_of(case, name, upstream)
    case.pred.grad = None
    size = case.pred.numel() * case.pred.element_size()
    if case.pred.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / size
    peak = testing.peak_memory(step)
    case.pred.grad = None
    return peak / size
