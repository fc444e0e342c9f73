"""The CPU backend: calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file."""

import math
from functools import lru_cache, partial
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.analytic import Computed, Given, run_analytic
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.cpu_library import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.target import check_target

LIBRARY = load(Path(__file__).parent, 'mmasl_asymmetric_loss')
JOB = Struct('8d P PP 5q PPP d PPP qq')  # of cpu.cpp


def asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
    level: int = LIBRARY.level,
) -> Tensor:
    """The same function as :func:`asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    :func:`mmasl.ops.analytic.run_analytic` says what is kept for the backward pass. ``level`` names the instruction set
    among :data:`mmasl.ops.cpu_library.LEVELS`, up to the widest that the processor has.

    Example:
        >>> import torch
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = asymmetric_loss_cpu(pred, torch.tensor([0]), None, None, 1.0, Asymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(1.3863), tensor([[-0.5000,  0.5000]]))
    """
    if asymmetry.has_tensors:
        asymmetry = asymmetry.read_scalars()
    given = Given(target, weight, class_weight, float(scale) if isinstance(scale, Tensor) else scale, asymmetry)
    compute = compute_cpu if level == LIBRARY.level else partial(compute_cpu, level=level)
    return run_analytic(compute, asymmetric_loss_reference, pred, given, reduce, check)


def compute_cpu(
    pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool, level: int = LIBRARY.level
) -> Computed:
    """Loss and slope as :class:`Computed` describes them; targets are checked and counted in the same pass."""
    target, weight, class_weight, scale, asymmetry = given
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = pred.new_empty(() if reduce else pred.shape, dtype=dtype)
    slope = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format) if with_slope else None
    # Held by name until the call is over: the library sees addresses only.
    pred, flat_target = pred.contiguous(), as_target(target)
    weight, class_weight = as_factor(weight, dtype), as_factor(class_weight, dtype)
    class_constants = None
    if asymmetry.has_tensors:
        class_constants = _class_constants(asymmetry, columns, dtype)
        asymmetry = asymmetry._replace(gamma_neg=0.0, clip=0.0)
    by_row = weight is not None and weight.dim() == 1
    job = JOB.pack(
        *_equation(asymmetry, dtype),
        address(class_constants),
        pred.data_ptr(),
        flat_target.data_ptr(),
        DTYPES[pred.dtype],
        DTYPES[flat_target.dtype],
        target.dim() == 1,
        rows,
        columns,
        address(weight if by_row else None),
        address(None if by_row else weight),
        address(class_weight),
        1.0 if not reduce else -1.0 if scale is None else scale,  # below 0: the library counts the labels
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(slope),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.run(job) and check:
        check_target(target, columns)
    return Computed(loss, slope)


@lru_cache(maxsize=256)
def _equation(asymmetry: Asymmetry, dtype: torch.dtype) -> tuple:
    """``struct Equation`` of equation.h."""
    hi, lo = margin_logit(asymmetry.clip, dtype) if asymmetry.clip else (0.0, 0.0)
    alpha = asymmetry.alpha
    sides = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return asymmetry.gamma_pos, asymmetry.gamma_neg, asymmetry.clip, hi, lo, *sides, float(asymmetry.detach_focus)


def _class_constants(asymmetry: Asymmetry, columns: int, dtype: torch.dtype) -> Tensor:
    """``struct OfClass`` of equation.h for all classes: gamma_neg, clip and both parts of logit(clip), (4, C)."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    hi: float | Tensor
    lo: float | Tensor
    if isinstance(clip, Tensor):
        hi, lo = margin_logit_tensor(clip)
    else:
        hi, lo = margin_logit(clip, dtype) if clip else (-math.inf, 0.0)
    table = torch.empty(4, columns, dtype=dtype)
    for row, value in zip(table, (gamma, clip, hi, lo), strict=True):
        row[:] = value
    return table
