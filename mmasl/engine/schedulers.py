"""torch's one-cycle policy for the learning rate and, which MMEngine lacks, for the momentum."""

from collections.abc import Sequence

from mmengine.optim import OneCycleLR as MMEngineOneCycleLR
from mmengine.optim import OneCycleParamScheduler
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF

from mmasl.registry import PARAM_SCHEDULERS

__all__ = ['OneCycleLR', 'OneCycleMomentum']


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(MMEngineOneCycleLR):
    """MMEngine's OneCycleLR with the optimizer's own learning rate as its peak.

    MMEngine's class requires a fixed ``eta_max``, and its schedule overwrites what ``--auto-scale-lr`` and
    ``paramwise_cfg`` (``lr_mult``) have set. Here ``optim_wrapper.optimizer.lr`` is the only learning rate in a config,
    and each parameter group has its own peak.

    Args:
        optimizer (Optimizer | OptimWrapper): The optimizer; its learning rates are the peaks.
        eta_max (float | list[float], optional): The peak of all groups, or one peak per group. By default the
            optimizer's learning rates.
        **kwargs: MMEngine's arguments: ``pct_start``, ``div_factor``, ``final_div_factor``, ``anneal_strategy``,
            ``end``, ...

    Raises:
        ValueError: Under the conditions of MMEngine's class.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.5)
        >>> scheduler = OneCycleLR(optimizer, end=100, div_factor=4.0)
        >>> optimizer.param_groups[0]['max_lr'], optimizer.param_groups[0]['lr']
        (0.5, 0.125)
    """

    def __init__(self, optimizer, eta_max: float | Sequence[float] | None = None, **kwargs) -> None:
        if eta_max is None:
            eta_max = [group['lr'] for group in optimizer.param_groups]
        total_steps = kwargs.get('total_steps') or kwargs.get('end', INF) - kwargs.get('begin', 0)
        kwargs['pct_start'] = rising_part(kwargs.get('pct_start', 0.3), total_steps)
        super().__init__(optimizer, eta_max=eta_max, **kwargs)


def rising_part(pct_start: float, total_steps: int) -> float:
    """Return ``pct_start``, slightly enlarged if it is one step, for which upstream would divide by zero.

    Example:
        >>> rising_part(0.2, 100), rising_part(0.2, 5) > 0.2
        (0.2, True)
    """
    return pct_start * (1 + 1e-9) if pct_start * total_steps == 1 else pct_start


class _OneCycleValley(OneCycleParamScheduler):
    """MMEngine's cycle with torch's values and phases for the momentum; see :class:`OneCycleMomentum`."""

    def __init__(
        self,
        optimizer,
        param_name: str,
        eta_min: float = 0.85,
        eta_max: float = 0.95,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = 'cos',
        three_phase: bool = False,
        begin: int = 0,
        end: int = INF,
        **kwargs,
    ) -> None:
        if not 0 <= eta_min <= eta_max < 1:
            raise ValueError(f'expected 0 <= eta_min <= eta_max < 1, got eta_min={eta_min}, eta_max={eta_max}')
        if not 0 <= pct_start <= 1:
            raise ValueError(f'pct_start: expected a number in [0, 1], got {pct_start}')
        if anneal_strategy not in ('cos', 'linear'):
            raise ValueError(f"anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}")
        self.total_steps = end - begin if total_steps is None else total_steps
        pct_start = rising_part(pct_start, self.total_steps)
        self.anneal_func = self._annealing_cos if anneal_strategy == 'cos' else self._annealing_linear
        top, bottom = f'max_{param_name}', f'base_{param_name}'  # the keys that torch uses
        turns = [(pct_start * self.total_steps - 1, top, bottom), (self.total_steps - 1, bottom, top)]
        if three_phase:
            turns[1:] = [(2 * pct_start * self.total_steps - 2, bottom, top), (self.total_steps - 1, top, top)]
        self._schedule_phases = [
            {'end_step': step, f'start_{param_name}': start, f'end_{param_name}': stop} for step, start, stop in turns
        ]
        for group in optimizer.param_groups:
            group.update({top: eta_max, bottom: eta_min})
        # Skip MMEngine's own constructor, which handles the learning rate only.
        super(OneCycleParamScheduler, self).__init__(optimizer, param_name, begin=begin, end=end, **kwargs)


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, _OneCycleValley):
    """The momentum of torch's ``OneCycleLR(cycle_momentum=True)``: SGD's momentum, or the first beta of Adam's.

    The momentum falls from ``eta_max`` to ``eta_min`` while the learning rate rises, and rises again while the learning
    rate falls. Use it together with :class:`OneCycleLR` and give both the same ``pct_start``, ``end`` and
    ``convert_to_iter_based``; both then equal torch's values at every step.

    Args:
        optimizer (Optimizer | OptimWrapper): An optimizer with a momentum.
        eta_min (float): The lowest momentum, torch's ``base_momentum``, in [0, ``eta_max``].
        eta_max (float): The highest momentum, torch's ``max_momentum``, below 1.
        total_steps (int, optional): Length of the cycle. By default ``end - begin``.
        pct_start (float): The share of the cycle in which the momentum falls.
        anneal_strategy (str): 'cos' or 'linear'.
        three_phase (bool): Torch's third phase, in which the momentum stays at ``eta_max``.
        begin (int): First step of the cycle.
        end (int): The step after the last one. The runner sets it to the length of the training.
        **kwargs: ``by_epoch``, ``last_step`` and ``verbose``, as for every scheduler.

    Raises:
        ValueError: If an argument is outside its range, or the optimizer has no momentum.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
        >>> scheduler = OneCycleMomentum(optimizer, pct_start=0.5, end=4)
        >>> betas = []
        >>> for _ in range(4):
        ...     betas.append(round(optimizer.param_groups[0]['betas'][0], 3))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> betas
        [0.95, 0.85, 0.9, 0.95]
    """
