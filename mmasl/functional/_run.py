"""What every loss does between its own constants and its result: validate, choose a backend, run, restore the shape."""

from collections.abc import Callable

from torch import Tensor

from mmasl.functional._backend import choose_backend
from mmasl.functional._validate import (
    check_class_weight,
    check_pred,
    check_reduction,
    flatten_target,
    flatten_weight,
    reads_values,
    sum_scale,
)
from mmasl.ops import Op


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
    flatten: Callable = flatten_weight,
) -> Tensor:
    """Arguments and errors as the public functions say; ``flatten`` brings ``weight`` into the form of the op."""
    check_reduction(reduction, avg_factor)
    check_pred(pred)
    flat_target = flatten_target(pred, target)
    flat_weight = flatten(pred, weight)
    check_class_weight(pred, class_weight)
    run = choose_backend(op, backend, pred, target, weight, class_weight)
    loss = run(
        pred if pred.dim() == 2 else pred.reshape(-1, pred.shape[-1]),
        flat_target,
        flat_weight,
        class_weight,
        sum_scale(reduction, avg_factor),
        asymmetry,
        reduction != 'none',
        reads_values(pred, check_target_range),
    )
    # One loss an entry or one a row, whichever the op gives.
    return loss if loss.dim() == 0 or pred.dim() == 2 else loss.reshape(*pred.shape[:-1], *loss.shape[1:])
