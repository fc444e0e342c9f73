"""The steps that all losses share: validate, choose a backend, run, restore the shape."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mmasl.compat import aminmax, at_least_float32, why_torch_only
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
from mmasl.ops.triton_check import checked_triton
from mmasl.ops.triton_support import DTYPES, triton_unavailable

SMALLEST = 1e-12  # a probability; it bounds 1/p, and torch's binary_cross_entropy has this bound too
BACKENDS = ('auto', 'reference', 'plain', 'cpu', 'triton')
WARNED: list[Op] = []  # the op whose first call warned that losses are slow, if there was one


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


def logits_of(probability: Tensor) -> Tensor:
    """Return the logits of probabilities in float64; float32 would lose digits of p next to 1 and next to a margin.

    1 is replaced by the nearest number inside, and numbers below 1e-12 by 1e-12, or by the smallest normal number of
    the dtype if that is larger. Autograd does not see the replacement, so a positive at p = 0 has a gradient, which its
    dtype can hold.

    Args:
        probability: Numbers in [0, 1], any shape and floating dtype.

    Example:
        >>> logits_of(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-27.6310,   0.0000,  16.6355], dtype=torch.float64)
    """
    dtype = torch.finfo(probability.dtype)
    wide = probability.double()
    with torch.no_grad():
        shift = wide.clamp(max(dtype.tiny, SMALLEST), 1 - dtype.eps / 2).sub_(wide)
    return torch.logit(wide + shift)


def check_probabilities(probability: Tensor) -> None:
    """Raise ValueError if a number lies outside [0, 1]. This reads the values, and so it waits for a GPU."""
    if probability.numel() == 0:
        return
    for value in aminmax(probability.detach()):
        if value < 0 or value > 1:  # NaN passes, as it does among logits
            raise ValueError(
                f'pred: expected probabilities in [0, 1], as activated=True says, got {value.item():g}; a head that '
                'passes logits needs activated=False'
            )


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
                if each == 'plain':
                    _warn_of_slow_losses(op, pred)
                return checked_triton(op) if each == 'triton' else getattr(op, each)
        return op.reference
    reason = _why_not(op, backend, pred, target, *weights)
    if reason is not None:
        raise ValueError(f"backend: {backend!r} cannot be used because {reason}; expected 'auto' or 'reference'")
    return getattr(op, backend)


def _warn_of_slow_losses(op: Op, pred: Tensor) -> None:
    """Warn that the compiled loss cannot be used, once in a process whatever number of losses it uses."""
    if WARNED or not (pred.is_cpu or (pred.is_cuda and pred.dtype in DTYPES)):  # Triton never computes in float64
        return
    WARNED.append(op)
    if pred.is_cpu:
        reason = f'the CPU library of the losses is {op.library.status}'
    else:
        reason = f'the losses run in torch operations, because {triton_unavailable(pred)}'
    warnings.warn(reason, stacklevel=5)


def _why_not(op: Op, backend: str, pred: Tensor, *others: Tensor | None) -> str | None:
    if backend == 'reference':
        return None
    if backend == 'cpu' and not (pred.is_cpu and op.library.reason is None):
        return op.library.reason if pred.is_cpu else f'pred is on {pred.device}'
    reason = why_torch_only(pred)
    if reason is not None:
        return reason
    for other in others:
        if other is not None and other.requires_grad and torch.is_grad_enabled():
            return 'a target or weight requires grad, which only the reference differentiates'
    return triton_unavailable(pred) if backend == 'triton' else None
