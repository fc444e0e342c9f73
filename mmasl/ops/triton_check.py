"""``backend='auto'`` uses the Triton kernels of an op once they have agreed with the reference in this process."""

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mmasl.ops import Op
from mmasl.ops.analytic import Given

LOGITS = 256  # the least number of logits that are compared


@cache
def checked_triton(op: Op) -> Callable:
    """Return ``op.triton``, with ``op.plain`` in its place if the kernels do not work on this machine.

    The first call with a device, a dtype and a kind of target runs :func:`find_fault`, and warns of a fault. While a
    CUDA graph is captured it does not, because the comparison waits for the device.
    """
    faults: dict[tuple, str | None] = {}

    def run(pred, target, *constants) -> Tensor:
        targets = target if isinstance(target, tuple) else (target,)
        key = (pred.device, pred.dtype, *((each.dtype, each.dim()) for each in targets))
        if key not in faults:
            if _is_captured(pred):
                return op.triton(pred, target, *constants)
            fault = faults[key] = find_fault(op, pred, target, *constants)
            if fault is not None:
                warnings.warn(
                    f'the Triton kernels are not used for {pred.dtype} on {pred.device}, and the loss runs in torch '
                    f'operations: {fault}',
                    stacklevel=2,
                )
        return (op.triton if faults[key] is None else op.plain)(pred, target, *constants)

    return run


def find_fault(
    op: Op,
    pred: Tensor,
    target: Tensor | tuple[Tensor, Tensor],
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: tuple,
    reduce: bool,
    check: bool = False,
) -> str | None:
    """Return how the Triton kernels fail, or differ from the reference in loss or gradient, or None.

    Logits, labels and weights of the given kinds are made here. So the result does not depend on values, and the
    kernels that are compiled are those that the call needs.

    Example:
        >>> from mmasl.ops.asymmetric_loss import OP, Asymmetry
        >>> broken = OP._replace(triton=lambda pred, *constants: pred.sum())
        >>> find_fault(broken, torch.zeros(1, 80), torch.tensor([3]), None, None, 1.0, Asymmetry(), reduce=True)
        'loss: Scalars are not close! ...'
    """
    columns, device = pred.shape[1], pred.device
    rows = LOGITS // max(columns, 1) + 1

    def spread(first: float, last: float, shape: tuple, dtype: torch.dtype) -> Tensor:
        values = torch.linspace(first, last, torch.Size(shape).numel(), device=device)
        return values.reshape(shape).to(dtype)

    def made(given: Tensor | None, *shapes: tuple) -> Tensor | None:
        return None if given is None else spread(0.5, 1.5, shapes[-given.dim()], given.dtype)

    def label(given: Tensor) -> Tensor:
        if given.dim() == 1:
            return (torch.arange(rows, device=device) % max(columns, 1)).to(given.dtype)
        return (torch.arange(rows * columns, device=device) % 3 == 0).reshape(rows, columns).to(given.dtype)

    def owned(constant):  # a tensor made in inference mode could not be saved for backward
        return constant.clone() if isinstance(constant, Tensor) else constant

    with torch.inference_mode(False), torch.enable_grad():
        logits = spread(-8, 8, (rows, columns), pred.dtype)
        if isinstance(target, tuple):
            target = label(target[0]), spread(0, 1, (rows,), target[1].dtype)
        else:
            target = label(target)
        given = Given(
            target,
            made(weight, (rows, columns), (rows,)),
            made(class_weight, (columns,)),
            # a small one would hide a wrong gradient, because the tolerance is absolute
            None if scale is None else torch.full_like(scale, 0.5) if isinstance(scale, Tensor) else 0.5,
            type(asymmetry)(*map(owned, asymmetry)),
        )
        results = []
        for function in (op.triton, op.reference):
            leaf = logits.clone().requires_grad_()
            try:
                loss = function(leaf, *given, reduce)
                results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaf)))
            except Exception as error:  # Triton and the compilers that it calls raise many kinds of errors
                if function is op.reference:
                    raise
                return _one_line(f'{type(error).__name__}: {error}')
        for what, actual, expected in zip(('loss', 'gradient'), *results, strict=True):
            try:
                torch.testing.assert_close(actual, expected, equal_nan=True)
            except AssertionError as error:
                return _one_line(f'{what}: {error}')
    return None


def _is_captured(pred: Tensor) -> bool:
    return pred.is_cuda and torch.cuda.is_current_stream_capturing()


def _one_line(text: str) -> str:
    line = ' '.join(text.split())
    return line if len(line) <= 400 else f'{line[:400]}...'
