"""The launch of the Triton kernels. triton_support.py decides what is computed when.

The kernels are in triton_kernels.py, which is imported when it is first needed.
"""

from torch import Tensor

from mmasl.ops.analytic import Given
from mmasl.ops.softmax_asymmetric_loss.reference import (
    SoftmaxAsymmetry,
    check_single_label,
    smoothed,
    softmax_asymmetric_loss_reference,
)
from mmasl.ops.target import may_ignore
from mmasl.ops.triton_support import Launch, Plan, as_number, compiled_exponent, refuse, run_on_triton

TILE = 1024  # logits; a tile has several rows if these are shorter
MOST_COLUMNS = 4096  # a longer row is read in parts


def softmax_asymmetric_loss_triton(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: SoftmaxAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """Compute :func:`softmax_asymmetric_loss_reference`, with the same arguments, for all dtypes but float64.

    The tensors are on a GPU, or in tests on the CPU, where Triton's interpreter runs the kernels. Only ``pred`` gets a
    gradient. ``check`` waits for the GPU.

    Raises:
        ValueError: If :func:`triton_unavailable` gives a reason, or ``check`` finds a target out of range.
    """
    refuse(pred)
    if check:
        check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    rows = len(pred)
    labels = None if target.dim() == 1 or may_ignore(target) else rows
    plan = Plan((rows,), -(-rows // _tile(pred.shape[1])[0]), labels, kept=(3, rows))
    given = Given(target, weight, class_weight, scale, asymmetry)
    return run_on_triton(_launch, softmax_asymmetric_loss_reference, plan, pred, given, reduce)


def _launch(what: Launch, pred: Tensor, given: Given) -> None:
    """Launch one of the kernels :func:`triton_kernels.softmax_loss` and :func:`triton_kernels.softmax_gradient`."""
    from mmasl.ops.softmax_asymmetric_loss import triton_kernels

    target, weight, class_weight, asymmetry = given.target, given.weight, given.class_weight, given.asymmetry
    total, columns = pred.shape
    rows, width = _tile(columns)
    own, other = smoothed(asymmetry.label_smoothing, columns)
    shared = dict(
        pred=pred,
        target=target,
        weight=weight,
        class_weight=class_weight,
        out=what.out,
        kept=what.kept,
        total=total,
        own=as_number(own),
        other=as_number(other),
        gamma_pos=as_number(asymmetry.gamma_pos),
        gamma_neg=as_number(asymmetry.gamma_neg),
        ignore_index=asymmetry.ignore_index,
        GAMMA_POS=compiled_exponent(asymmetry.gamma_pos),
        GAMMA_NEG=compiled_exponent(asymmetry.gamma_neg),
        DETACH=asymmetry.detach_focus,
        INDEX=target.dim() == 1,
        SMOOTH=other != 0,
        WEIGHT=weight is not None,
        CLASS_WEIGHT=class_weight is not None,
        COLUMNS=columns,
        ROWS=rows,
        WIDTH=width,
        num_warps=4 if width <= TILE else 8,
    )
    if what.mode == 'grad':
        triton_kernels.softmax_gradient[(what.programs,)](
            **shared, upstream=what.upstream, scale=what.scale, UPSTREAM=what.upstream_is
        )
    else:
        triton_kernels.softmax_loss[(what.programs,)](
            **shared,
            counts=what.counts,
            IGNORE=may_ignore(target),
            KEEP=what.kept is not None,
            COUNT=what.counts is not None,
            MODE=what.mode,
        )


def _tile(columns: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of a tile, which are powers of two.

    Example:
        >>> _tile(10), _tile(1000), _tile(32000)
        ((64, 16), (1, 1024), (1, 4096))
    """
    width = min(1 << (columns - 1).bit_length(), MOST_COLUMNS)
    return max(TILE // width, 1), width
