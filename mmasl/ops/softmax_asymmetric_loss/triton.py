"""The Triton backend: how the kernels are launched. What is computed when says triton_support.py.

The kernels are in triton_kernels.py, which is imported when first needed.
"""

from torch import Tensor

from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry, smoothed
from mmasl.ops.softmax_asymmetric_loss.reference import softmax_asymmetric_loss_reference
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label
from mmasl.ops.triton_support import Launch, Plan, as_number, compiled_exponent, may_ignore, refuse, run_on_triton

TILE = 1024  # logits, where a row has fewer: several rows
MOST_COLUMNS = 4096  # of a row at a time


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
    """The same function as :func:`softmax_asymmetric_loss_reference`, argument by argument, but for float64.

    For tensors on a GPU; on the CPU in Triton's interpreter, which is for tests. ``weight``, ``class_weight`` and
    ``target`` get no gradient. ``check`` waits for the GPU.

    Raises:
        ValueError: :func:`triton_unavailable` gives a reason, or ``check`` finds a target out of range.
    """
    refuse(pred)
    if check:
        check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    rows = len(pred)
    labels = None if target.dim() == 1 or may_ignore(target) else rows
    plan = Plan((rows,), -(-rows // _tile(pred.shape[1])[0]), labels, kept=(3, rows))
    constants = (target, weight, class_weight, scale, asymmetry)
    return run_on_triton(_launch, softmax_asymmetric_loss_reference, plan, pred, constants, reduce)


def _launch(
    what: Launch,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    asymmetry: SoftmaxAsymmetry,
) -> None:
    """Run a kernel; its arguments are those of :func:`triton_kernels.softmax_loss`."""
    from mmasl.ops.softmax_asymmetric_loss import triton_kernels

    total, columns = pred.shape
    rows, width = _tile(columns)
    own, other = smoothed(asymmetry.label_smoothing, columns)
    tensors = (pred, target, weight, class_weight, what.out)
    numbers = (total, *map(as_number, (own, other, asymmetry.gamma_pos, asymmetry.gamma_neg)), asymmetry.ignore_index)
    constants = dict(
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
            *tensors, what.kept, what.upstream, what.scale, *numbers, UPSTREAM=what.upstream_is, **constants
        )
    else:
        triton_kernels.softmax_loss[(what.programs,)](
            *tensors,
            what.counts,
            what.kept,
            *numbers,
            IGNORE=may_ignore(target),
            KEEP=what.kept is not None,
            COUNT=what.counts is not None,
            MODE=what.mode,
            **constants,
        )


def _tile(columns: int) -> tuple[int, int]:
    """Rows and columns of a tile, powers of two.

    Example:
        >>> _tile(10), _tile(1000), _tile(32000)
        ((64, 16), (1, 1024), (1, 4096))
    """
    width = min(1 << (columns - 1).bit_length(), MOST_COLUMNS)
    return max(TILE // width, 1), width
