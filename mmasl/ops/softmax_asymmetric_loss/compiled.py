"""Calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file (optional at install)."""

from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from mmasl.ops.cpu_support import DTYPES, PARALLEL_FROM, address, as_factor, as_target, load
from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry, smoothed
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label

LIBRARY, REASON = load(Path(__file__).parent, 'mmasl_softmax_asymmetric_loss', abi=1)
JOB = Struct('5d PP 6q PPP d PPP qq')  # of cpu.cpp
level = LIBRARY.mmasl_level() if LIBRARY is not None else None  # index of LEVELS; tests and benchmarks lower it


def fill_compiled(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | None,
    asymmetry: SoftmaxAsymmetry,
    check: bool,
    loss: Tensor | None,
    grad: Tensor | None,
    upstream: Tensor | None = None,
) -> None:
    """The same function as :func:`fill_plain`, argument by argument; targets are checked in the same call."""
    rows, columns = pred.shape
    if columns == 0:
        if loss is not None:
            loss.zero_()
        return
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    reduce = (loss if loss is not None else upstream).dim() == 0
    # Held by name until the call is over: the library sees addresses only.
    pred, flat_target = pred.contiguous(), as_target(target)
    weight, class_weight = as_factor(weight, dtype), as_factor(class_weight, dtype)
    upstream = as_factor(upstream.expand(rows) if upstream is not None and reduce else upstream, dtype)
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
        address(upstream),
        (-1.0 if scale is None else scale) if reduce else 1.0,
        address(loss if reduce else None),
        address(None if reduce else loss),
        address(grad),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if LIBRARY.mmasl_softmax_asymmetric_loss(job) and check:
        check_single_label(target, columns, asymmetry.ignore_index)
