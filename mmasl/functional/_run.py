"""The steps that all losses share: validate, choose a backend, run, restore the shape."""

from collections.abc import Callable

from torch import Tensor

from mmasl.compat import at_least_float32
from mmasl.functional._backend import choose_backend
from mmasl.functional._validate import (
    check_class_weight,
    check_pred,
    check_reduction,
    flatten_target,
    flatten_weight,
    reads_values,
    rows_and_classes,
    sum_scale,
)
from mmasl.ops import Op
from mmasl.ops.probabilities import check_probabilities, logits_of


def run_loss(
    op: Op,
    asymmetry: tuple,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    reduction: str,
    avg_factor: float | Tensor | None,
    check_target_range: bool | None,
    backend: str,
    *,
    activated: bool = False,
    flatten_target: Callable = flatten_target,
    flatten_weight: Callable = flatten_weight,
) -> Tensor:
    """Compute a loss with the arguments and errors of the public functions.

    ``flatten_target`` and ``flatten_weight`` bring these arguments into the form of the op.
    """
    check_reduction(reduction, avg_factor)
    check_pred(pred)
    flat_target = flatten_target(pred, target)
    flat_weight = flatten_weight(pred, weight)
    check_class_weight(pred, class_weight)
    check = reads_values(pred, check_target_range)
    if activated:
        if check:
            check_probabilities(pred)
        dtype, pred = at_least_float32(pred.dtype), logits_of(pred)
    rows, num_classes = rows_and_classes(pred)
    targets = flat_target if isinstance(flat_target, tuple) else (flat_target,)
    run = choose_backend(op, backend, pred, *targets, weight, class_weight)
    loss = run(
        pred if pred.dim() == 2 else pred.reshape(-1, num_classes),
        flat_target,
        flat_weight,
        class_weight,
        sum_scale(reduction, avg_factor),
        asymmetry,
        reduction != 'none',
        check,
    )
    if activated:
        loss = loss.to(dtype)
    if loss.dim() == 0 or pred.dim() == 2:
        return loss
    return loss.reshape(pred.shape if loss.dim() == 2 else rows)  # the op returns a loss per entry or per row
