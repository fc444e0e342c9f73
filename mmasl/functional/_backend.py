"""Which op runs a loss: ``auto`` takes the fastest that can, a named one runs or raises with the reason."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from mmasl.ops.target import check_target
from mmasl.ops.triton_support import triton_unavailable

BACKENDS = ('auto', 'reference', 'cpu', 'triton', 'compile')


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f'backend: expected one of {BACKENDS}, got {backend!r}')


def choose_backend(
    ops: Mapping[str, Callable], backend: str, pred: Tensor, target: Tensor, *weights: Tensor | None
) -> Callable:
    """The function that runs an op.

    Args:
        ops: ``'reference'``, ``'cpu'`` and ``'triton'`` with the functions that run them, of the same arguments.
        backend: One of :data:`BACKENDS`.
        pred, target, weights: The tensors that it shall take.

    Raises:
        ValueError: An unknown backend, or a named one that cannot take these tensors.

    Example:
        >>> choose_backend({'reference': sum, 'cpu': max}, 'auto', torch.zeros(1, 2), torch.zeros(1, 2))
        <built-in function max>
    """
    check_backend(backend)
    if backend == 'auto':
        able = (name for name in ops if name != 'reference' and _why_not(name, pred, target, *weights) is None)
        return ops[next(able, 'reference')]
    reason = _why_not(backend, pred, target, *weights)
    if reason is not None:
        raise ValueError(f"backend: {backend!r} cannot be used because {reason}; expected 'auto' or 'reference'")
    return _compile(ops['reference']) if backend == 'compile' else ops[backend]


def _why_not(backend: str, pred: Tensor, *others: Tensor | None) -> str | None:
    if backend == 'reference':
        return None
    if torch.compiler.is_compiling():
        return 'torch.compile traces the reference'
    if backend == 'compile':
        return None
    if any(other is not None and other.requires_grad for other in others):
        return 'a target or weight requires grad, which only the reference differentiates'
    if backend == 'cpu':
        return None if pred.device.type == 'cpu' else f'pred is on {pred.device}'
    return triton_unavailable(pred)


@cache
def _compile(reference: Callable) -> Callable:
    compiled = torch.compile(reference)

    def run(pred, target, *arguments):
        *arguments, check = arguments
        if check:  # reads values, which a graph cannot hold
            check_target(target, pred.shape[1])
        return compiled(pred, target, *arguments)

    return run
