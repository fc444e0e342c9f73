"""Finds a schedule that is over before the training is."""

from mmengine.optim import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
    _ParamScheduler,
)
from mmengine.runner import Runner

TO_A_MINIMUM = (CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler)


def early_end(runner: Runner) -> str | None:
    """Return a warning if the training goes on after the last scheduler has brought the learning rate to its minimum.

    A warm-up, steps and milestones may end early, because the rate that they leave is meant to stay.
    """
    schedulers = runner.param_schedulers or []
    for group in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:  # a list for each optimizer
        lengths = {True: ('epoch', runner.max_epochs), False: ('iteration', runner.max_iters)}
        rates = [scheduler for scheduler in group if scheduler.param_name == 'lr']
        last = max(rates, key=lambda scheduler: scheduler.end / (lengths[scheduler.by_epoch][1] or 1), default=None)
        if last is None or not falls(last):
            continue
        unit, length = lengths[last.by_epoch]
        if last.end < length:
            return (
                f'param_scheduler: {type(last).__name__} ends at {unit} {last.end} of {length}, and the learning rate '
                'stays at its minimum for the rest; set end (and T_max) to the length of the training'
            )
    return None


def falls(scheduler: _ParamScheduler) -> bool:
    """Return whether ``scheduler`` ends at the minimum that it is on the way to."""
    if isinstance(scheduler, LinearParamScheduler):
        return scheduler.end_factor < scheduler.start_factor
    return isinstance(scheduler, TO_A_MINIMUM)
