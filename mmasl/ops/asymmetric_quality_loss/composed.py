"""The CPU and Triton backends: negatives by that backend of the asymmetric loss, the few positives gathered."""

from collections.abc import Callable

from torch import Tensor

from mmasl.compat import at_least_float32
from mmasl.ops.asymmetric_quality_loss.asymmetry import QualityAsymmetry, negatives_only
from mmasl.ops.asymmetric_quality_loss.reference import count_quality_labels, positive_loss
from mmasl.ops.asymmetric_quality_loss.target import QualityTarget, check_quality_target, without_positives


def compose(negative_side: Callable) -> Callable:
    """A backend of this loss from one of the asymmetric loss, which leaves positives out; arguments as the reference's.

    Example:
        >>> import torch
        >>> from mmasl.ops.asymmetric_loss import asymmetric_loss_cpu
        >>> pred, target = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0.75, 0.0]])
        >>> loss = compose(asymmetric_loss_cpu)(pred, target, None, None, 1.0, QualityAsymmetry(2, 2, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(0.2166), tensor([[-0.1023,  0.2983]]))
    """

    def run(
        pred: Tensor,
        target: QualityTarget,
        weight: Tensor | None,
        class_weight: Tensor | None,
        scale: float | Tensor | None,
        asymmetry: QualityAsymmetry,
        reduce: bool,
        check: bool = False,
    ) -> Tensor:
        num_classes = pred.shape[1]
        if check:
            check_quality_target(target, num_classes)
        if scale is None:
            scale = count_quality_labels(target, num_classes).clamp(min=1).reciprocal()
        column_weight = class_weight
        if asymmetry.alpha != 1:
            ones = pred.new_ones(num_classes, dtype=at_least_float32(pred.dtype))
            column_weight = asymmetry.alpha * (ones if class_weight is None else class_weight)
        background = without_positives(target, num_classes)
        loss = negative_side(pred, background, weight, column_weight, scale, negatives_only(asymmetry), reduce)

        place, scores = _positives(target, background, num_classes)
        positive = positive_loss(pred[place], scores, asymmetry)
        if weight is not None:
            positive = positive * weight[place[: weight.dim()]]
        if class_weight is not None:
            positive = positive * class_weight[place[1]]
        if reduce:
            return (loss.double() + positive.sum() * scale).to(loss.dtype)
        return loss.index_put(place, positive.to(loss.dtype))

    return run


def _positives(target: QualityTarget, background: Tensor, num_classes: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """(rows, columns) of the positives, and their scores."""
    if isinstance(target, Tensor):
        place = (target > 0).nonzero(as_tuple=True)
        return place, target[place]
    rows = ((background >= 0) & (background < num_classes)).nonzero().squeeze(1)
    return (rows, background[rows]), target[1][rows]
