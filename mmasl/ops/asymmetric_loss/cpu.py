"""The CPU backend. It calls cpu.cpp, which ``setup.py`` compiles to a shared library beside this file."""

import math
from functools import lru_cache
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.analytic import Computed, Given, with_analytic_gradient
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.cpu_library import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.target import check_target

LIBRARY = load(Path(__file__).parent, 'mmasl_asymmetric_loss')
JOB = Struct('8d P PP 5q PPP d PPP qq')  # of cpu.cpp


def compute_cpu(
    pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool, level: int = LIBRARY.level
) -> Computed:
    """Compute loss and slope, and check and count the targets in the same pass.

    ``level`` is the index of the instruction set in :data:`mmasl.ops.cpu_library.LEVELS`. The processor must have it.
    """
    target, weight, class_weight, scale, asymmetry = given
    if asymmetry.has_tensors:
        asymmetry = asymmetry.read_scalars()
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = pred.new_empty(() if reduce else pred.shape, dtype=dtype)
    slope = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format) if with_slope else None
    # These names keep the tensors alive during the call, because the library gets only addresses.
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
        1.0 if not reduce else -1.0 if scale is None else float(scale),  # below 0: the library counts the labels
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(slope),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.run(job) and check:
        check_target(target, columns)
    return Computed(loss, slope)


asymmetric_loss_cpu = with_analytic_gradient(asymmetric_loss_reference, compute_cpu)


@lru_cache(maxsize=256)
def _equation(asymmetry: Asymmetry, dtype: torch.dtype) -> tuple:
    """Return the members of ``struct Equation`` of equation.h."""
    hi, lo = margin_logit(asymmetry.clip, dtype) if asymmetry.clip else (0.0, 0.0)
    alpha = asymmetry.alpha
    sides = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return asymmetry.gamma_pos, asymmetry.gamma_neg, asymmetry.clip, hi, lo, *sides, float(asymmetry.detach_focus)


def _class_constants(asymmetry: Asymmetry, columns: int, dtype: torch.dtype) -> Tensor:
    """Return gamma_neg, clip and both parts of logit(clip) for all classes, (4, C), for ``struct OfClass``."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    hi: float | Tensor
    lo: float | Tensor
    if isinstance(clip, Tensor):
        hi, lo = margin_logit_tensor(clip)
    else:
        hi, lo = margin_logit(clip, dtype) if clip else (-math.inf, 0.0)
    table = torch.empty(4, columns, dtype=dtype, device='cpu')
    for row, value in zip(table, (gamma, clip, hi, lo), strict=True):
        row[:] = value
    # The lowest logit stands for entries that have left the block, so it must be inactive without a margin too.
    table[2].clamp_(min=torch.finfo(dtype).min)
    return table
