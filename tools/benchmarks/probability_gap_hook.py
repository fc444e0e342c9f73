"""Measure the processor time of mmasl.ProbabilityGapHook as a share of that of the training iterations.

    python tools/benchmarks/probability_gap_hook.py                    # DigitScenes, 200 iterations
    python tools/benchmarks/probability_gap_hook.py CONFIG --iters 50

It measures the processor time of this process and not wall time, so other programs on the machine do not count. On a
GPU, the time of the kernels is not included.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmasl.analysis.report import table
from mmasl.engine.hooks import ProbabilityGapHook

CONFIG = Path(__file__).resolve().parents[2] / 'configs/digit_scenes/digitnet-asl_ft-1xb16_digitscenes-48px.py'
WARM_UP = 5


class TimedHook(ProbabilityGapHook):
    """Record the time of each iteration and the part of it that the hook takes."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.own, self.whole, self._spent, self._end = [], [], 0.0, None

    def _timed(self, method, *args, **kwargs):
        start = time.process_time()
        method(*args, **kwargs)
        self._spent += time.process_time() - start

    def before_train_iter(self, *args, **kwargs):
        self._timed(super().before_train_iter, *args, **kwargs)

    def _add(self, *args):
        self._timed(super()._add, *args)

    def after_train_iter(self, *args, **kwargs):
        self._timed(super().after_train_iter, *args, **kwargs)
        now = time.process_time()
        if self._end is not None:
            self.own.append(self._spent)
            self.whole.append(now - self._end)
        self._spent, self._end = 0.0, now


class Stop(Hook):
    """End the training after some iterations."""

    def __init__(self, iters):
        self.iters = iters

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 >= self.iters:
            raise StopIteration


def measure(config: str | Path, iters: int, interval: int | None) -> tuple[float, float]:
    """Return the median seconds of an iteration and the mean seconds of the hook in it."""
    cfg = Config.fromfile(config)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.default_hooks.checkpoint = None
    cfg.log_level = 'WARNING'
    cfg.experiment_name = f'cost_{interval}'
    hook = TimedHook(interval=interval)
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        runner = Runner.from_cfg(cfg)
        runner.register_hook(hook)
        runner.register_hook(Stop(iters + WARM_UP + 1), priority='LOWEST')
        with suppress(StopIteration):
            runner.train()
    whole, own = hook.whole[WARM_UP:], hook.own[WARM_UP:]
    return median(whole), sum(own) / len(own)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG)
    parser.add_argument('--iters', type=int, default=200)
    args = parser.parse_args(argv)
    rows = []
    for interval in (None, 1):
        whole, own = measure(args.config, args.iters, interval)
        rows.append(
            [
                "the logger's" if interval is None else str(interval),
                f'{1e3 * whole:.2f}',
                f'{1e3 * own:.3f}',
                f'{100 * own / whole:.2f} %',
            ]
        )
    print(table(['interval', 'iteration, ms', 'hook, ms', 'share'], rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
