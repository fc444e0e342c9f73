"""The asymmetric loss whose asymmetry follows the probability gap (Eq. 11), for OpenMMLab heads."""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from mmasl.compat import in_transform, is_compiling
from mmasl.functional._validate import check_number
from mmasl.functional.probability_sums import probability_gap, probability_sums
from mmasl.models.losses.asymmetric_loss import AsymmetricLoss

# λ times the number of steps, and the value to start from. docs/adaptive.md has the measurements behind them.
RELATIVE_STEPS = {'gamma_neg': 40.0, 'clip': 2.0}
START = 2.0
ADAPTED = {'gamma_neg': ('gamma_neg',), 'clip': ('clip',), 'both': ('gamma_neg', 'clip')}


class AdaptiveAsymmetricLoss(AsymmetricLoss):
    r"""ASL that steers its own asymmetry to a given probability gap (Section 2.7 of the paper).

    .. math::

        \gamma_- \leftarrow \gamma_- - \lambda (\Delta p - \Delta p_{target}), \quad
        \Delta p = p_t^+ - p_t^-

    Here p_t is the mean over the positives or the negatives of a batch (Eq. 9 and 10). This is Eq. 11 **with its sign
    corrected**: the printed form drives the gap away from the target. The margin can be steered in the same way, which
    the paper proposes but does not try.

    The asymmetry moves once per backward pass. With gradient accumulation it therefore moves once for each accumulated
    batch. It uses the statistics of all processes and of all calls before the backward pass (pyramid levels, decoder
    layers). It moves at the first call after the backward pass, so a forward pass that activation checkpointing repeats
    sees the same loss. It does not move in evaluation, without gradients, for a batch without positives or without
    negatives, or for logits that are not finite. Ignored labels and labels of weight 0 do not count.

    The statistics of all processes are added up once, at the end of the backward pass, so processes may differ in the
    number of their calls. Each must call the loss at least once: a process that never does (YOLOX, for a batch without
    boxes) would let the others wait for it. :class:`mmasl.engine.hooks.AsymmetryHook` makes that safe as well, because
    it adds up the statistics at the end of each iteration, in every process. The asymmetry then moves once per
    iteration. It is needed too if a model has several such losses and processes call them in another order.

    The state is in buffers that are equal to the last bit in all processes. An EMA copy that averages buffers holds the
    averaged asymmetry, and the training continues from its own. In a detection head the positives are the
    (anchor, class) pairs that are assigned to a box, and all other pairs are negatives, so its gap starts close to -1:
    choose the target from a training with fixed constants.

    Args:
        gamma_neg, kwargs: See :class:`AsymmetricLoss`. The training starts from ``gamma_neg`` and ``clip``.
        delta_p_target: The gap to steer to, in (-1, 1). A larger target puts more weight on positives.
        step_size: λ for gamma_neg, above 0. None means 40 / number of steps.
        clip_step_size: λ for the margin, above 0. None means 2 / number of steps.
        total_steps: Number of steps (backward passes) of the training. None takes it from MMEngine's runner.
        adapt: ``'gamma_neg'`` (the paper), ``'clip'`` or ``'both'``.
        gamma_neg_bounds, clip_bounds: (low, high), which gamma_neg and clip never leave. Both are at least 0, and
            those of clip are below 1.
        momentum: The share of the statistics that is kept from batch to batch, in [0, 1). 0 uses each batch alone.

    Raises:
        ValueError: For a parameter out of range, for bounds in the wrong order, or for a start outside of its bounds.
            In training, if the number of steps is needed and unknown.
        RuntimeError: In training, if FSDP's ``mixed_precision.buffer_dtype`` has cast the state to half precision, or
            inside a transform of ``torch.func`` or ``torch.jit.trace``.

    Example:
        >>> loss = AdaptiveAsymmetricLoss(delta_p_target=0.1, step_size=0.5)
        >>> pred, target = torch.tensor([[0.0, -2.0]], requires_grad=True), torch.tensor([[1, 0]])
        >>> for _ in range(3):
        ...     loss(pred, target).backward()
        >>> loss.gamma_neg, loss.delta_p  # moved twice by 0.5 * (-0.3808 - 0.1)
        (tensor(2.4808, dtype=torch.float64), tensor(-0.3808, dtype=torch.float64))
    """

    batch_sums: Tensor
    running_sums: Tensor

    def __init__(
        self,
        *,
        gamma_neg: float = START,
        delta_p_target: float = 0.1,
        step_size: float | None = None,
        clip_step_size: float | None = None,
        total_steps: int | None = None,
        adapt: str = 'gamma_neg',
        gamma_neg_bounds: Sequence[float] = (0.0, 10.0),
        clip_bounds: Sequence[float] = (0.0, 0.5),
        momentum: float = 0.9,
        **kwargs,
    ):
        super().__init__(gamma_neg=gamma_neg, **kwargs)
        if adapt not in ADAPTED:
            raise ValueError(f'adapt: expected one of {tuple(ADAPTED)}, got {adapt!r}')
        self.delta_p_target = _check_inside('delta_p_target', delta_p_target, -1, 1)
        self.momentum = check_number('momentum', momentum, 0, 1, open_high=True)
        if total_steps is not None and (type(total_steps) is not int or total_steps < 1):
            raise ValueError(f'total_steps: expected a whole number above 0, got {total_steps!r}')
        self.total_steps = total_steps
        self.steps = {}  # _set_steps adds those that are not given
        for name, key, value in (('gamma_neg', 'step_size', step_size), ('clip', 'clip_step_size', clip_step_size)):
            if value is not None:
                self.steps[name] = _check_inside(key, value, 0, math.inf)
        self.bounds = dict(
            gamma_neg=_check_bounds('gamma_neg_bounds', gamma_neg_bounds, math.inf),
            clip=_check_bounds('clip_bounds', clip_bounds, 1),
        )
        self.adapted = ADAPTED[adapt]
        for name in self.adapted:
            start, (low, high) = getattr(self, name) or 0.0, self.bounds[name]
            if not low <= start <= high:
                raise ValueError(f'{name}: expected a start in {name}_bounds=({low:g}, {high:g}), got {start!r}')
            delattr(self, name)
            self.register_buffer(name, torch.tensor(start, dtype=torch.float64))
        self.register_buffer('batch_sums', torch.zeros(4, dtype=torch.float64))
        self.register_buffer('running_sums', torch.zeros(4, dtype=torch.float64))
        self._own_sums: Tensor | float = 0.0  # of this process. It is no buffer, because DDP may broadcast buffers
        self.ends_with_iteration = False  # mmasl.AsymmetryHook sets it, and calls end_batch
        self._batch_is_open = False  # True until the backward pass of the batch, or else until end_batch

    def extra_repr(self) -> str:
        sizes = {name: f'{size:g} / steps' for name, size in RELATIVE_STEPS.items()}
        sizes |= {name: f'{size:g}' for name, size in self.steps.items()}
        steers = [f'{name} by {sizes[name]} in {self.bounds[name]}' for name in self.adapted]
        return f'{super().extra_repr()}, delta_p_target={self.delta_p_target:g}, steers=({", ".join(steers)})'

    @property
    def delta_p(self) -> Tensor:
        """The gap of the latest batch, that of all processes once it has ended.

        It is NaN if the batch had no positive or no negative.
        """
        return probability_gap(self.batch_sums)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss as :meth:`AsymmetricLoss.forward` does. Training also adds up the sums of Eq. 9."""
        learns = self.training and torch.is_grad_enabled() and pred.requires_grad
        if not learns or _in_backward():
            return super().forward(pred, target, weight, avg_factor, reduction_override)
        if not is_compiling() and in_transform():
            raise RuntimeError(
                'AdaptiveAsymmetricLoss: expected no torch.func transform and no torch.jit.trace in training, because '
                'its state would not change; call eval() first, which keeps its asymmetry constant'
            )
        if self.running_sums.dtype not in (torch.float64, torch.float32):
            raise RuntimeError(
                f'AdaptiveAsymmetricLoss: expected its state in float64, got {self.running_sums.dtype}, which '
                "rounds the steps to zero; leave buffer_dtype out of FSDP's mixed_precision, or make it 'float32'"
            )
        self._set_steps()
        if not self._batch_is_open:
            self._step()
        loss = super().forward(pred, target, weight, avg_factor, reduction_override)
        sums = probability_sums(pred, self._target(pred, target), weight, self.activated)
        if _is_distributed():
            self._own_sums = self._own_sums + sums.sum(1)
        else:
            self.batch_sums += sums.sum(1)
        self._batch_is_open = True
        loss.register_hook(self._close_batch)
        return loss

    def _set_steps(self) -> None:
        """Compute the step sizes that are missing from the length of the training."""
        if self.steps.keys() >= set(self.adapted):
            return
        total, logging = self.total_steps, sys.modules.get('mmengine.logging')  # a runner imports it
        if total is None and logging is not None:
            total = logging.MessageHub.get_current_instance().get_info('max_iters')
        if not total:
            raise ValueError(
                'total_steps: expected the number of training steps, because no MMEngine runner knows it, got None; '
                'set it, or set the step sizes'
            )
        for name, relative in RELATIVE_STEPS.items():  # torch 2.1 compiles no merging of dicts
            self.steps.setdefault(name, relative / total)

    @torch.no_grad()
    def _step(self) -> None:
        """Apply Eq. 11 with the sums of the last batch, then reset them."""
        sums = self.batch_sums
        usable = sums.isfinite().all() & (sums[1] > 0) & (sums[3] > 0)
        self.running_sums.copy_(torch.where(usable, self.momentum * self.running_sums + sums, self.running_sums))
        excess = probability_gap(self.running_sums) - self.delta_p_target
        for name in self.adapted:
            value = getattr(self, name)
            moved = (value - self.steps[name] * excess).clamp(*self.bounds[name])
            # It writes to a view: torch.compile loses what is written to a 0-d float64 tensor on the CPU (torch 2.11).
            value.view(-1).copy_(torch.where(usable, moved, value).view(-1))
        sums.zero_()

    def end_batch(self) -> None:
        """End the batch of an iteration with ``ends_with_iteration=True``, where the backward pass does not end it.

        Every process must call this, also one that has not called the loss.
        """
        if not self.training:
            return
        if not self._batch_is_open:  # no call in this iteration: the sums are those of the batch before
            self._set_steps()
            self._step()
        self._batch_is_open = False
        self._sum_over_processes()

    def _close_batch(self, grad: Tensor) -> None:
        if self.ends_with_iteration or not self._batch_is_open:
            return
        self._batch_is_open = False
        if _is_distributed():
            # At the end of the backward pass, after DDP has started to reduce all gradients: during it, their order in
            # the processes may differ.
            torch.autograd.Variable._execution_engine.queue_callback(self._sum_over_processes)

    def _sum_over_processes(self) -> None:
        if _is_distributed():
            sums = self._own_sums + torch.zeros_like(self.batch_sums)
            distributed.all_reduce(sums)
            self.batch_sums += sums
            self._own_sums = 0.0


def _in_backward() -> bool:
    """Return whether this call is the second forward pass of activation checkpointing."""
    return torch._C._current_graph_task_id() != -1


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _check_inside(key, value, low, high):
    """Return ``value`` as a float if it is a number in the open interval (low, high)."""
    if check_number(key, value, low, high) in (low, high):
        raise ValueError(f'{key}: expected a number in ({low:g}, {high:g}), got {value!r}')
    return float(value)


def _check_bounds(key, bounds, limit):
    if len(bounds) != 2:
        raise ValueError(f'{key}: expected (low, high), got {bounds!r}')
    low, high = (check_number(key, bound, 0, limit, open_high=True) for bound in bounds)
    if low >= high:
        raise ValueError(f'{key}: expected (low, high) with low < high, got {bounds!r}')
    return low, high
