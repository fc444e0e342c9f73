"""The steps that all losses share: validate, choose a backend, run, restore the shape."""

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mmasl.compat import at_least_float32, why_torch_only
from mmasl.functional._validate import (
    check_class_weight,
    check_pred,
    check_reduction,
    flatten_target,
    flatten_weight,
    reads_values,
    rows_and_classes,
    sum_scale,
)
from mmasl.ops import Op
from mmasl.ops.probabilities import check_probabilities, logits_of
from mmasl.ops.triton_check import checked_triton
from mmasl.ops.triton_support import triton_unavailable

BACKENDS = ('auto', 'reference', 'plain', 'cpu', 'triton', 'compile')
WARNED: list[Op] = []  # the op whose first call on the CPU warned that losses are slow, if there was one


def run_loss(
    op: Op,
    asymmetry: tuple,
    pred: Tensor,
    target: Tensor | tuple[Tensor, Tensor],
    *,
    weight: Tensor | None,
    class_weight: Tensor | None,
    reduction: str,
    avg_factor: float | Tensor | None,
    check_target_range: bool | None,
    backend: str,
    activated: bool = False,
    flatten_target: Callable = flatten_target,
    flatten_weight: Callable = flatten_weight,
) -> Tensor:
    """Compute a loss with the arguments and errors of the public functions.

    ``flatten_target`` and ``flatten_weight`` bring these arguments into the form of the op.
    """
    check_reduction(reduction, avg_factor)
    check_pred(pred)
    flat_target = flatten_target(pred, target)
    flat_weight = flatten_weight(pred, weight)
    check_class_weight(pred, class_weight)
    check = reads_values(pred, check_target_range)
    if activated:
        if check:
            check_probabilities(pred)
        dtype, pred = at_least_float32(pred.dtype), logits_of(pred)
    targets = flat_target if isinstance(flat_target, tuple) else (flat_target,)
    run = choose_backend(op, backend, pred, *targets, weight, class_weight)
    loss = run(
        pred if pred.dim() == 2 else pred.reshape(-1, rows_and_classes(pred)[1]),
        flat_target,
        flat_weight,
        class_weight,
        sum_scale(reduction, avg_factor),
        asymmetry,
        reduction != 'none',
        check,
    )
    if activated:
        loss = loss.to(dtype)
    if loss.dim() == 0 or pred.dim() == 2:
        return loss
    # the op returns a loss per entry or per row
    return loss.reshape(pred.shape if loss.dim() == 2 else rows_and_classes(pred)[0])


def fastest(pred: Tensor) -> str:
    """Return the backend that ``'auto'`` prefers on the device of ``pred``."""
    return 'cpu' if pred.is_cpu else 'triton' if pred.is_cuda else 'plain'


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f'backend: expected one of {BACKENDS}, got {backend!r}')


def choose_backend(op: Op, backend: str, pred: Tensor, target: Tensor, *weights: Tensor | None) -> Callable:
    """Return the function that runs an op on these tensors.

    Args:
        op: The functions to choose from.
        backend: One of :data:`BACKENDS`.
        pred, target, weights: The tensors that the function must accept.

    Raises:
        ValueError: For an unknown backend, or a named backend that cannot accept these tensors.

    Example:
        >>> from mmasl.ops.asymmetric_loss import OP
        >>> choose_backend(OP, 'auto', torch.zeros(1, 2, device='meta'), torch.zeros(1, 2)) is OP.plain
        True
    """
    check_backend(backend)
    if backend == 'auto':
        for each in (fastest(pred), 'plain'):
            if _why_not(op, each, pred, target, *weights) is None:
                if each == 'plain' and pred.is_cpu:
                    _warn_of_slow_losses(op)
                return checked_triton(op) if each == 'triton' else getattr(op, each)
        return op.reference
    reason = _why_not(op, backend, pred, target, *weights)
    if reason is not None:
        raise ValueError(f"backend: {backend!r} cannot be used because {reason}; expected 'auto' or 'reference'")
    return _compile(op) if backend == 'compile' else getattr(op, backend)


def _warn_of_slow_losses(op: Op) -> None:
    """Warn that the CPU library is missing, once in a process whatever number of losses it uses."""
    if not WARNED:
        WARNED.append(op)
        warnings.warn(f'the CPU library of the losses is {op.library.status}', stacklevel=5)


def _why_not(op: Op, backend: str, pred: Tensor, *others: Tensor | None) -> str | None:
    if backend == 'reference':
        return None
    if backend == 'cpu' and not (pred.is_cpu and op.library.reason is None):
        return op.library.reason if pred.is_cpu else f'pred is on {pred.device}'
    reason = why_torch_only(pred)
    if reason is not None or backend == 'compile':
        return reason
    for other in others:
        if other is not None and other.requires_grad:
            return 'a target or weight requires grad, which only the reference differentiates'
    return triton_unavailable(pred) if backend == 'triton' else None


@cache
def _compile(op: Op) -> Callable:
    compiled = torch.compile(op.reference)

    def run(pred, target, weight, class_weight, scale, asymmetry, reduce, check):
        if check:  # it reads values, which is impossible in a graph
            op.check_target(target, pred.shape[1], asymmetry)
        return compiled(pred, target, weight, class_weight, scale, asymmetry, reduce)

    return run
