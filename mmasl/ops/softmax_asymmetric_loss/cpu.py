"""The CPU backend. It calls cpu.cpp, which ``setup.py`` compiles to a shared library beside this file."""

from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.analytic import Computed, Given, with_analytic_gradient
from mmasl.ops.cpu_library import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.softmax_asymmetric_loss.reference import check_single_label, smoothed, softmax_asymmetric_loss_reference

LIBRARY = load(Path(__file__).parent, 'mmasl_softmax_asymmetric_loss')
JOB = Struct('5d PP 6q PP d PPP qq')  # of cpu.cpp


def compute_cpu(
    pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool, level: int = LIBRARY.level
) -> Computed:
    """Compute loss and slope, and check and count the targets in the same call.

    ``level`` is the index of the instruction set in :data:`mmasl.ops.cpu_library.LEVELS`. The processor must have it.
    """
    target, weight, class_weight, scale, asymmetry = given
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = pred.new_empty(() if reduce else (rows,), dtype=dtype)
    slope = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format) if with_slope else None
    if columns == 0:
        return Computed(loss.zero_(), slope)
    # These names keep the tensors alive during the call, because the library gets only addresses.
    pred, flat_target = pred.contiguous(), as_target(target)
    weight, class_weight = as_factor(weight, dtype), as_factor(class_weight, dtype)
    own, other = smoothed(asymmetry.label_smoothing, columns)
    job = JOB.pack(
        asymmetry.gamma_pos,
        asymmetry.gamma_neg,
        own,
        other,
        float(asymmetry.detach_focus),
        pred.data_ptr(),
        flat_target.data_ptr(),
        DTYPES[pred.dtype],
        DTYPES[flat_target.dtype],
        target.dim() == 1,
        asymmetry.ignore_index,
        rows,
        columns,
        address(weight),
        address(class_weight),
        1.0 if not reduce else -1.0 if scale is None else float(scale),  # below 0: the library counts the rows
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(slope),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.run(job) and check:
        check_single_label(target, columns, asymmetry.ignore_index)
    return Computed(loss, slope)


softmax_asymmetric_loss_cpu = with_analytic_gradient(softmax_asymmetric_loss_reference, compute_cpu)
