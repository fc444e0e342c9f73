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

# λ times the number of steps, and the start: see docs/adaptive.md for what they were chosen by.
RELATIVE_STEPS = {'gamma_neg': 40.0, 'clip': 2.0}
START = 2.0
ADAPTED = {'gamma_neg': ('gamma_neg',), 'clip': ('clip',), 'both': ('gamma_neg', 'clip')}


class AdaptiveAsymmetricLoss(AsymmetricLoss):
    r"""ASL that steers its own asymmetry to a given probability gap (Section 2.7 of the paper).

    .. math::

        \gamma_- \leftarrow \gamma_- - \lambda (\Delta p - \Delta p_{target}), \quad
        \Delta p = p_t^+ - p_t^-

    with the mean p_t of a batch's positives and negatives (Eq. 9 and 10). This is Eq. 11 **with its sign corrected**:
    as printed it drives the gap away from the target. The margin may be steered the same way, and each class on its
    own, both of which the paper names and does not try.

    The asymmetry moves once per backward pass (with gradient accumulation: once for each batch that is accumulated), by
    the statistics of all processes and of all calls before it (pyramid levels, decoder layers). It moves at the first
    call after it, so a forward pass that activation checkpointing runs again sees the same loss. Nothing moves in
    evaluation, without gradients, where there is no positive or no negative, or for logits that are not finite. Ignored
    labels and those of weight 0 do not count.

    State is in buffers, which every process keeps to the last bit alike. An EMA copy that averages buffers holds the
    averaged asymmetry; the training continues from its own. In a detection head positives are the (anchor, class) pairs
    assigned to a box and negatives all others, so its gap starts close to -1: take the target from a training with
    fixed constants.

    Args:
        gamma_neg, kwargs: As :class:`AsymmetricLoss`; ``gamma_neg`` and ``clip`` are where the training starts.
        delta_p_target: The gap to steer to, in (-1, 1). Larger puts more weight on positives.
        step_size: λ for gamma_neg, above 0. None: 40 / number of steps.
        clip_step_size: λ for the margin, above 0. None: 2 / number of steps.
        total_steps: Number of steps (backward passes) of the training. None: that of MMEngine's runner.
        adapt: ``'gamma_neg'`` (the paper), ``'clip'`` or ``'both'``.
        gamma_neg_bounds, clip_bounds: (low, high), never left; from 0, clip below 1.
        momentum: How much of the statistics is kept from batch to batch, in [0, 1); 0 takes those of one batch alone.
        per_class: Steer each class by its own gap; needs ``num_classes``. A class that is absent from a batch stays.

    Raises:
        ValueError: A parameter out of range, bounds the wrong way round or without the start between them, or
            ``per_class`` without ``num_classes``. When training, if the number of steps is needed and nobody says it.
        RuntimeError: When training, if FSDP's ``mixed_precision.buffer_dtype`` has cast the state to half precision, or
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
        per_class: bool = False,
        **kwargs,
    ):
        super().__init__(gamma_neg=gamma_neg, **kwargs)
        if adapt not in ADAPTED:
            raise ValueError(f'adapt: expected one of {tuple(ADAPTED)}, got {adapt!r}')
        if per_class and self.num_classes is None:
            raise ValueError('num_classes: expected the number of classes, as per_class=True needs it, got None')
        self.delta_p_target = _check_inside('delta_p_target', delta_p_target, -1, 1)
        self.momentum = check_number('momentum', momentum, 0, 1, open_high=True)
        self.per_class = per_class
        if total_steps is not None and (type(total_steps) is not int or total_steps < 1):
            raise ValueError(f'total_steps: expected a whole number above 0, got {total_steps!r}')
        self.total_steps = total_steps
        self.steps = {}  # what is not given is known when the training starts
        for name, key, value in (('gamma_neg', 'step_size', step_size), ('clip', 'clip_step_size', clip_step_size)):
            if value is not None:
                self.steps[name] = _check_inside(key, value, 0, math.inf)
        self.bounds = dict(
            gamma_neg=_check_bounds('gamma_neg_bounds', gamma_neg_bounds, math.inf),
            clip=_check_bounds('clip_bounds', clip_bounds, 1),
        )
        shape = (self.num_classes,) if per_class else ()
        self.adapted = ADAPTED[adapt]
        for name in self.adapted:
            start, (low, high) = getattr(self, name) or 0.0, self.bounds[name]
            if not low <= start <= high:
                raise ValueError(f'{name}: expected a start in {name}_bounds=({low:g}, {high:g}), got {start!r}')
            delattr(self, name)
            self.register_buffer(name, torch.full(shape, start, dtype=torch.float64))
        self.register_buffer('batch_sums', torch.zeros(4, *shape, dtype=torch.float64))
        self.register_buffer('running_sums', torch.zeros(4, *shape, dtype=torch.float64))
        self._batch_is_open = False  # its backward pass is still to come

    def extra_repr(self) -> str:
        sizes = {name: f'{size:g} / steps' for name, size in RELATIVE_STEPS.items()}
        sizes |= {name: f'{size:g}' for name, size in self.steps.items()}
        steers = [f'{name} by {sizes[name]} in {self.bounds[name]}' for name in self.adapted]
        return f'{super().extra_repr()}, delta_p_target={self.delta_p_target:g}, steers=({", ".join(steers)})'

    @property
    def delta_p(self) -> Tensor:
        """The gap of the latest batch, 0-d or one for each class, NaN where there was none."""
        return probability_gap(self.batch_sums)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """As :meth:`AsymmetricLoss.forward`; in training it also takes the statistics of Eq. 9."""
        learns = self.training and torch.is_grad_enabled() and pred.requires_grad
        if not learns or _in_backward():
            return super().forward(pred, target, weight, avg_factor, reduction_override)
        if not is_compiling() and in_transform():
            raise RuntimeError(
                'AdaptiveAsymmetricLoss: expected no torch.func transform and no torch.jit.trace while it learns, as '
                'its state would not follow; call eval() first, which holds its asymmetry'
            )
        if self.running_sums.dtype not in (torch.float64, torch.float32):
            raise RuntimeError(
                f'AdaptiveAsymmetricLoss: expected its state in float64, got {self.running_sums.dtype}, where steps '
                "vanish in rounding: leave buffer_dtype out of mixed_precision (FSDP's), or make it 'float32'"
            )
        if not self.steps.keys() >= set(self.adapted):
            self._set_steps()
        if not self._batch_is_open:
            self._step()
        loss = super().forward(pred, target, weight, avg_factor, reduction_override)
        sums = probability_sums(pred, self._target(pred, target), weight, self.activated)
        self.batch_sums += _sum_over_processes(sums if self.per_class else sums.sum(1))
        self._batch_is_open = True
        loss.register_hook(self._close_batch)
        return loss

    def _set_steps(self) -> None:
        """The step sizes that follow from the length of the training."""
        total, logging = self.total_steps, sys.modules.get('mmengine.logging')  # which a runner has imported
        if total is None and logging is not None:
            total = logging.MessageHub.get_current_instance().get_info('max_iters')
        if not total:
            raise ValueError(
                'total_steps: expected the number of training steps, as no runner of MMEngine says it, got None; '
                'give it, or the step sizes themselves'
            )
        self.steps = {name: relative / total for name, relative in RELATIVE_STEPS.items()} | self.steps

    @torch.no_grad()
    def _step(self) -> None:
        """Eq. 11 by the statistics of the last batch, whose sums are then emptied."""
        sums = self.batch_sums
        usable = sums.isfinite().all(0) & (sums[1] > 0) & (sums[3] > 0)
        self.running_sums.copy_(torch.where(usable, self.momentum * self.running_sums + sums, self.running_sums))
        excess = probability_gap(self.running_sums) - self.delta_p_target
        for name in self.adapted:
            value = getattr(self, name)
            moved = (value - self.steps[name] * excess).clamp(*self.bounds[name])
            # A view, since torch.compile loses what is written to a 0-d float64 tensor on the CPU (torch 2.11).
            value.view(-1).copy_(torch.where(usable, moved, value).view(-1))
        sums.zero_()

    def _close_batch(self, grad: Tensor) -> None:
        self._batch_is_open = False

    def _apply(self, fn, recurse=True):
        """The state keeps its precision when a model becomes half precision: a step would vanish in rounding there."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype != before[name].dtype:
                self._buffers[name] = before[name].to(buffer.device)
        return self


def _in_backward() -> bool:
    """Whether this call is activation checkpointing's second forward pass."""
    return torch._C._current_graph_task_id() != -1


def _sum_over_processes(sums: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(sums)
    return sums


def _check_inside(key, value, low, high):
    """``value`` as a float if it is a number in the open interval."""
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
