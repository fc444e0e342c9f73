"""Calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file (optional at install)."""

import math
from functools import lru_cache
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.cpu_support import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.target import check_target, count_labelled

LIBRARY, REASON = load(Path(__file__).parent, 'mmasl_asymmetric_loss', abi=3)
JOB = Struct('8d P PP 5q PPPP d PPP qq')  # of cpu.cpp
level = LIBRARY.mmasl_level() if LIBRARY is not None else None  # index of LEVELS; tests and benchmarks lower it


def fill_compiled(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | None,
    asymmetry: Asymmetry,
    check: bool,
    loss: Tensor | None,
    grad: Tensor | None,
    upstream: Tensor | None = None,
) -> None:
    """The same function as :func:`fill_blocks`, argument by argument; targets are checked in the one pass.

    With scale None the library counts in the same pass and scales the gradient afterwards; where it is rounded to half
    precision, or multiplied by ``upstream``, the count is needed first.
    """
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    reduce = (loss if loss is not None else upstream).dim() == 0
    if scale is None and reduce:
        counts_first = upstream is not None or (pred.dtype != dtype and grad is not None)
        scale = 1 / max(count_labelled(target, columns).item(), 1) if counts_first else -1.0
    if upstream is not None and reduce:
        scale *= upstream.item()
        upstream = None
    # Held by name until the call is over: the library sees addresses only.
    pred, flat_target = pred.contiguous(), as_target(target)
    weight, class_weight = as_factor(weight, dtype), as_factor(class_weight, dtype)
    upstream = as_factor(upstream, dtype)
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
        address(upstream),
        scale if reduce else 1.0,
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(grad),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.mmasl_asymmetric_loss(job) and check:
        check_target(target, columns)


@lru_cache(maxsize=256)
def _equation(asymmetry: Asymmetry, dtype: torch.dtype) -> tuple[float, ...]:
    """``struct Equation`` of sides.h."""
    hi, lo = margin_logit(asymmetry.clip, dtype) if asymmetry.clip else (0.0, 0.0)
    alpha = asymmetry.alpha
    sides = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return asymmetry.gamma_pos, asymmetry.gamma_neg, asymmetry.clip, hi, lo, *sides, float(asymmetry.detach_focus)


def _class_constants(asymmetry: Asymmetry, columns: int, dtype: torch.dtype) -> Tensor:
    """``struct OfClass`` of sides.h for all classes: gamma_neg, clip and both parts of logit(clip), (4, C)."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    if isinstance(clip, Tensor):
        hi, lo = margin_logit_tensor(clip)
    else:
        hi, lo = margin_logit(clip, dtype) if clip else (-math.inf, 0.0)
    table = torch.empty(4, columns, dtype=dtype)
    for row, value in zip(table, (gamma, clip, hi, lo), strict=True):
        row[:] = value
    return table
