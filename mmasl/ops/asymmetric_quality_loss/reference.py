"""The constants and targets of the asymmetric quality loss, and the loss in plain torch operations.

Autograd differentiates it twice, and torch.compile traces it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference, weigh_and_reduce
from mmasl.ops.target import check_target, count_labelled

QualityTarget = Tensor | tuple[Tensor, Tensor]  # dense scores (N, C), or class indices (N,) with the score of each
LARGEST_LOGIT = 745.0  # beyond, exp underflows in float64


class QualityAsymmetry(NamedTuple):
    """The constants of the quality loss, already validated.

    Attributes:
        gamma_pos: Exponent of |y - p| for positives, real and >= 0.
        gamma_neg: Focusing exponent of negatives, real and >= 0.
        clip: Probability margin m of negatives, 0 or in [1e-30, 1).
        alpha: Weight of negatives, >= 0.
        iou_weighted: Multiply the loss of a positive by its quality.
    """

    gamma_pos: float = 2.0
    gamma_neg: float = 4.0
    clip: float = 0.05
    alpha: float = 1.0
    iou_weighted: bool = False


def negatives_only(asymmetry: QualityAsymmetry) -> Asymmetry:
    """Return the constants of Eq. 7 for negatives alone; positives have the weight 0."""
    return Asymmetry(0.0, asymmetry.gamma_neg, asymmetry.clip, 0.0)


def asymmetric_quality_loss_reference(
    pred: Tensor,
    target: QualityTarget,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: QualityAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """Compute the asymmetric quality loss times its weights. The README.md has the equation.

    Args:
        pred: Logits (N, C) of any floating dtype. Half precision is computed in float32, and positives in float64.
        target: Dense scores (N, C) in [0, 1], with -1 for ignored ones. Or a tuple of labels (N,), with C for
            background and -1 for an ignored row, and scores (N,). A score of 0 is a negative.
        weight, class_weight, scale, reduce: See :func:`mmasl.ops.asymmetric_loss.asymmetric_loss_reference`.
        asymmetry: The constants.
        check: Call :func:`check_quality_target`, which raises for values out of range.

    Returns:
        Tensor: 0-d with ``reduce``, and otherwise (N, C), in float32 (float64 for float64 ``pred``).

    Example:
        >>> pred, target = torch.zeros(1, 2), (torch.tensor([0]), torch.tensor([0.75]))
        >>> asymmetric_quality_loss_reference(pred, target, None, None, 1.0, QualityAsymmetry(2, 2, 0), reduce=False)
        tensor([[0.0433, 0.1733]])
    """
    num_classes = pred.shape[1]
    if check:
        check_quality_target(target, num_classes)
    if scale is None:
        scale = count_quality_labels(target, num_classes).clamp(min=1).reciprocal()
    z = pred if pred.dtype == torch.float64 else pred.float()
    negatives = asymmetric_loss_reference(
        z,
        without_positives(target, num_classes),
        weight=None,
        class_weight=None,
        scale=1.0,
        asymmetry=negatives_only(asymmetry),
        reduce=False,
    )
    loss = asymmetry.alpha * negatives
    if isinstance(target, Tensor):
        loss = loss + _masked_positive(z, target, target > 0, asymmetry)
    elif num_classes:  # one column per row, without a one-hot
        column, scores, foreground = own_column(target, num_classes)
        loss = loss.scatter_add(1, column, _masked_positive(z.gather(1, column), scores, foreground, asymmetry))
    return weigh_and_reduce(loss, weight, class_weight, scale, reduce)


def own_column(target: tuple[Tensor, Tensor], num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the column of each row's label, its score, and whether it is a positive, all (N, 1)."""
    labels, scores = target[0].unsqueeze(1), target[1].unsqueeze(1)  # torch 2.1 compiles no loop here
    column = labels.clamp(0, num_classes - 1)
    return column, scores, (labels == column) & (scores > 0)


def _masked_positive(z: Tensor, score: Tensor, mask: Tensor, asymmetry: QualityAsymmetry) -> Tensor:
    """Return the loss of the positives, which ``mask`` marks, and 0 without a gradient elsewhere."""
    loss = _positive_loss(torch.where(mask, z, 0.0), torch.where(mask, score, 0.5), asymmetry)
    return torch.where(mask, loss, 0.0).to(z.dtype)


def _positive_loss(z: Tensor, score: Tensor, asymmetry: QualityAsymmetry) -> Tensor:
    """Compute [y] * |y - p|^gamma_pos * BCE(p, y) in float64, because y - p cancels where a positive is learnt."""
    z, score = z.double(), score.double().clamp(max=1)  # a score that was not checked may be above 1
    loss = -(score * logsigmoid(z) + (1 - score) * logsigmoid(-z))
    if asymmetry.gamma_pos != 0:
        # z is clamped, because z = -1e308 would lead to 0 * inf. At p = y, the minimum, the derivative of the power is
        # infinite for exponents below 1, and the gradient is defined as 0.
        distance = (score - torch.sigmoid(z.clamp(-LARGEST_LOGIT, LARGEST_LOGIT))).abs()
        learnt = distance == 0
        loss = torch.where(learnt, 0.0, torch.where(learnt, 1.0, distance) ** asymmetry.gamma_pos) * loss
    return score * loss if asymmetry.iou_weighted else loss


def count_quality_labels(target: QualityTarget, num_classes: int) -> Tensor:
    """Return the number of entries that are not ignored, as :func:`mmasl.ops.target.count_labelled` does."""
    return count_labelled(target if isinstance(target, Tensor) else target[0], num_classes)


def check_quality_target(target: QualityTarget, num_classes: int) -> None:
    """Raise ValueError if a target holds a value outside its range. This reads the values, and so it waits for a GPU.

    Raises:
        ValueError: For dense scores and labels that :func:`mmasl.ops.target.check_target` refuses, and for a score
            outside [0, 1].

    Example:
        >>> check_quality_target((torch.tensor([0, 3]), torch.tensor([0.5, 1.5])), num_classes=3)
        Traceback (most recent call last):
        ...
        ValueError: target: scores must lie in [0, 1], got 1.5 at row 1
    """
    if isinstance(target, Tensor):
        check_target(target, num_classes)
        return
    labels, scores = target
    check_target(labels, num_classes)
    wrong = ~((scores >= 0) & (scores <= 1)) & (labels != -1)  # NaN is wrong too
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f'target: scores must lie in [0, 1], got {scores[row].item():g} at row {row}')


def without_positives(target: QualityTarget, num_classes: int) -> Tensor:
    """Return the target of the negative side.

    Dense entries that are not negatives become ignored. A positive's label stays, because its weight is 0.

    Example:
        >>> without_positives(torch.tensor([[0.0, 0.7, -1.0]]), num_classes=3)
        tensor([[-0., -1., -1.]])
        >>> without_positives((torch.tensor([0, 1, 3, -1]), torch.tensor([0.7, 0.0, 0.0, 0.0])), num_classes=3)
        tensor([ 0,  3,  3, -1])
    """
    if isinstance(target, Tensor):
        return -(target != 0).float()
    labels, scores = target
    return torch.where((scores > 0) | (labels < 0), labels, num_classes)
