"""Times forward + backward of the contenders in turns, and measures their peak memory."""

import time
from collections.abc import Callable

import torch
from loss_cases import FLOOR, Case
from torch.profiler import ProfilerActivity, profile

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


def time_interleaved(case: Case, seconds: float, rounds: int | None = None) -> dict[str, list[float]]:
    """Return the seconds of one step, one sample per round for each contender; every other round is in reverse order.

    It runs as many rounds as fit in ``seconds``, between :data:`LEAST_ROUNDS` and :data:`MOST_ROUNDS`, or exactly
    ``rounds``. On a GPU it replays a step from a CUDA graph if the step can be captured, and otherwise runs it eagerly.
    """
    timer = _cuda_timer if case.pred.is_cuda else _cpu_timer
    timers = {name: timer(step_of(case, name)) for name in case.contenders}
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


def _cuda_timer(step: Callable) -> Callable[[], float]:
    run = capture(step) or step

    def sample() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return sample


def capture(step: Callable) -> Callable[[], None] | None:
    """Return a replay of the step from a CUDA graph; None if it cannot be captured, as a step that synchronises."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    except RuntimeError:
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
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = step()  # the copy must live until it is counted
    current = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == '[memory]':
            current += event.nbytes()
            peak = max(peak, current)
    case.pred.grad = None
    del kept
    return peak / size
