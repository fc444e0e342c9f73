"""The CPU backend: calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file."""

from functools import partial
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.analytic import Computed, Given, run_analytic
from mmasl.ops.cpu_library import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry, smoothed
from mmasl.ops.softmax_asymmetric_loss.reference import softmax_asymmetric_loss_reference
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label

LIBRARY = load(Path(__file__).parent, 'mmasl_softmax_asymmetric_loss')
JOB = Struct('5d PP 6q PP d PPP qq')  # of cpu.cpp


def softmax_asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: SoftmaxAsymmetry,
    reduce: bool,
    check: bool = False,
    level: int = LIBRARY.level,
) -> Tensor:
    """The same function as :func:`softmax_asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    :func:`mmasl.ops.analytic.run_analytic` says what is kept for the backward pass. ``level`` names the instruction set
    among :data:`mmasl.ops.cpu_library.LEVELS`, up to the widest that the processor has.

    Example:
        >>> import torch
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = softmax_asymmetric_loss_cpu(
        ...     pred, torch.tensor([0]), None, None, 1.0, SoftmaxAsymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(0.6931), tensor([[-0.5000,  0.5000]]))
    """
    given = Given(target, weight, class_weight, float(scale) if isinstance(scale, Tensor) else scale, asymmetry)
    compute = compute_cpu if level == LIBRARY.level else partial(compute_cpu, level=level)
    return run_analytic(compute, softmax_asymmetric_loss_reference, pred, given, reduce, check)


def compute_cpu(
    pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool, level: int = LIBRARY.level
) -> Computed:
    """Loss and slope as :class:`Computed` describes them; targets are checked and counted in the same call."""
    target, weight, class_weight, scale, asymmetry = given
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = torch.empty(() if reduce else (rows,), dtype=dtype)
    slope = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format) if with_slope else None
    if columns == 0:
        return Computed(loss.zero_(), slope)
    # Held by name until the call is over: the library sees addresses only.
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
        1.0 if not reduce else -1.0 if scale is None else scale,  # below 0: the library counts the rows
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(slope),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.run(job) and check:
        check_single_label(target, columns, asymmetry.ignore_index)
    return Computed(loss, slope)
