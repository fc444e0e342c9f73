"""The choice of the backend of a loss: ``auto`` takes the fastest that works; a named one runs or raises the reason."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mmasl.compat import why_torch_only
from mmasl.ops import Op
from mmasl.ops.triton_check import checked_triton
from mmasl.ops.triton_support import triton_unavailable

BACKENDS = ('auto', 'reference', 'plain', 'cpu', 'triton', 'compile')
FASTEST = {'cpu': 'cpu', 'cuda': 'triton'}  # for each type of device


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
        >>> choose_backend(OP, 'auto', torch.zeros(1, 2, device='meta'), torch.zeros(1, 2)).__name__
        'asymmetric_loss_plain'
    """
    check_backend(backend)
    if backend == 'auto':
        for each in (FASTEST.get(pred.device.type, 'plain'), 'plain'):
            if _why_not(op, each, pred, target, *weights) is None:
                return checked_triton(op) if each == 'triton' else getattr(op, each)
        return op.reference
    reason = _why_not(op, backend, pred, target, *weights)
    if reason is not None:
        raise ValueError(f"backend: {backend!r} cannot be used because {reason}; expected 'auto' or 'reference'")
    return _compile(op) if backend == 'compile' else getattr(op, backend)


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
