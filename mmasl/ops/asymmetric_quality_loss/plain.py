"""The backends with an analytic gradient. Negatives take a backend of the asymmetric loss, positives torch operations.

Of tensors on a GPU the host reads no value, and labels with scores are not expanded to (N, C).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmasl.compat import at_least_float32
from mmasl.ops.analytic import Computed, Given, weigh_and_sum, with_analytic_gradient, zero_at_most
from mmasl.ops.asymmetric_loss.cpu import compute_cpu
from mmasl.ops.asymmetric_loss.plain import LINEAR, compute_plain
from mmasl.ops.asymmetric_loss.triton import asymmetric_loss_triton
from mmasl.ops.asymmetric_quality_loss.reference import (
    QualityAsymmetry,
    QualityTarget,
    asymmetric_quality_loss_reference,
    check_quality_target,
    count_quality_labels,
    negatives_only,
    own_column,
    without_positives,
)


def compute_quality(
    pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool, compute_negatives: Callable = compute_plain
) -> Computed:
    """Compute loss and slope; ``compute_negatives`` does it for the negatives as a backend of the asymmetric loss."""
    num_classes = pred.shape[1]
    if check:
        check_quality_target(given.target, num_classes)
    given = _with_scale(given, num_classes)
    loss, slope, left = compute_negatives(pred, _negatives(pred, given), reduce, False, with_slope)
    if pred.numel() == 0:
        return Computed(loss, slope, left)
    column = None  # the column of each row's positive, or None if positives may be in any column
    z, score = pred.detach(), given.target
    if isinstance(given.target, tuple):
        column, score, foreground = own_column(given.target, num_classes)
        z, score = z.gather(1, column), torch.where(foreground, score, 0.0)
    value, rise = _positives(z.to(loss.dtype), score.detach(), given.asymmetry, with_slope)
    value, rise = weigh_and_sum(value, rise, _weights(given, column), reduce)
    if with_slope:
        if reduce and isinstance(left, float) and left == 1:  # the slope has been multiplied by the scale
            rise = rise * given.scale
        _add(slope, rise, column)
    if reduce:
        return Computed(loss.add_(value * given.scale), slope, left)
    return Computed(_add(loss, value, column), slope, left)


asymmetric_quality_loss_plain = with_analytic_gradient(asymmetric_quality_loss_reference, compute_quality)
asymmetric_quality_loss_cpu = with_analytic_gradient(
    asymmetric_quality_loss_reference, partial(compute_quality, compute_negatives=compute_cpu)
)


def asymmetric_quality_loss_triton(
    pred: Tensor,
    target: QualityTarget,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: QualityAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """Compute :func:`asymmetric_quality_loss_reference` for tensors that Triton's kernels take."""
    if check:
        check_quality_target(target, pred.shape[1])
    given = _with_scale(Given(target, weight, class_weight, scale, asymmetry), pred.shape[1])
    negatives = asymmetric_loss_triton(pred, *_negatives(pred, given), reduce)
    only_positives = given._replace(asymmetry=asymmetry._replace(alpha=0.0))
    return negatives + asymmetric_quality_loss_plain(pred, *only_positives, reduce, compute_negatives=_no_negatives)


def _no_negatives(pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool) -> Computed:
    zeros = torch.zeros_like(pred, dtype=at_least_float32(pred.dtype))
    return Computed(zeros.new_zeros(()) if reduce else zeros.clone(), zeros)


def _with_scale(given: Given, num_classes: int) -> Given:
    if given.scale is not None:
        return given
    return given._replace(scale=count_quality_labels(given.target, num_classes).clamp(min=1).reciprocal())


def _negatives(pred: Tensor, given: Given) -> Given:
    """Return the arguments with which the asymmetric loss computes the negatives."""
    column_weight, alpha = given.class_weight, given.asymmetry.alpha
    if alpha != 1:
        dtype = at_least_float32(pred.dtype)  # in a narrower one the product would be rounded
        ones = pred.new_ones(pred.shape[1], dtype=dtype)
        column_weight = alpha * (ones if column_weight is None else column_weight.to(dtype))
    background = without_positives(given.target, pred.shape[1])
    return Given(background, given.weight, column_weight, given.scale, negatives_only(given.asymmetry))


def _weights(given: Given, column: Tensor | None) -> list[Tensor]:
    """Return the weights of the positives, which broadcast to them."""
    weight, class_weight = given.weight, given.class_weight
    weights = []
    if weight is not None:
        by_row = weight.dim() == 1
        weights.append(weight.unsqueeze(1) if by_row else weight if column is None else weight.gather(1, column))
    if class_weight is not None:
        weights.append(class_weight if column is None else class_weight[column])
    return weights


def _add(output: Tensor, values: Tensor, column: Tensor | None) -> Tensor:
    return output.add_(values) if column is None else output.scatter_add_(1, column, values.to(output.dtype))


def _positives(z: Tensor, score: Tensor, asymmetry: QualityAsymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Compute loss and slope of positives. Both are 0 where the score is not above 0.

    p - y cancels where a positive is learnt, and exponents between 0 and 2 make this visible in the gradient. These are
    computed in float64. Near p = 1 the difference is computed from q = 1 - p, which has more digits there.
    """
    gamma = asymmetry.gamma_pos
    z = z.double() if 0 < gamma < 2 else z
    score = score.to(z.dtype)
    label = score.clamp(max=1)  # a score that was not checked may be above 1
    distance = torch.where(z > 0, (1 - label).sub_(torch.sigmoid(-z)), torch.sigmoid(z).sub_(label))
    value = softplus(z, threshold=LINEAR).lerp_(softplus(-z, threshold=LINEAR), label)
    slope = distance if with_slope else None
    if gamma != 0:
        focus = distance.abs().pow_(gamma)
        if with_slope:  # p * q comes first, because the loss may be 3e38 where one of them is 0
            rest = torch.sigmoid(z).mul_(torch.sigmoid(-z)).mul_(value).mul_(gamma)
            rest.div_(torch.where(distance == 0, 1.0, distance))
            slope = distance.add_(rest).mul_(focus)
        value.mul_(focus)
    if asymmetry.iou_weighted:
        value.mul_(label)
        slope = slope.mul_(label) if with_slope else None
    zero_at_most(value, score, 0)
    return value, zero_at_most(slope, score, 0) if with_slope else None
