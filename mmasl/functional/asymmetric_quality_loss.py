"""The asymmetric loss for detection heads whose targets are qualities, such as the IoU of a predicted box."""

import torch
from torch import Tensor

from mmasl.compat import cache_constants
from mmasl.functional._run import run_loss
from mmasl.functional._validate import (
    channels_hint,
    check_number,
    flatten_class_index,
    flatten_target,
    rows_and_classes,
)
from mmasl.functional.asymmetric_loss import make_asymmetry
from mmasl.ops.asymmetric_quality_loss import OP, QualityAsymmetry

DEFAULTS = QualityAsymmetry()  # of every function and module of this loss


def asymmetric_quality_loss(
    pred: Tensor,
    target: Tensor | tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    gamma_pos: float = DEFAULTS.gamma_pos,
    gamma_neg: float = DEFAULTS.gamma_neg,
    clip: float | None = DEFAULTS.clip,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    *,
    alpha: float = DEFAULTS.alpha,
    iou_weighted: bool = DEFAULTS.iou_weighted,
    class_weight: Tensor | None = None,
    activated: bool = False,
    check_target_range: bool | None = None,
    backend: str = 'auto',
) -> Tensor:
    r"""Return the asymmetric loss for quality targets y, which is an addition of this project to the paper.

    Negatives have the loss of Eq. 7 of the paper, and positives have a loss that depends on their quality.

    .. math::

        L = \begin{cases}
            -\alpha \, p_m^{\gamma_-} \log(1 - p_m) & y = 0 \\
            -[y] \, |y - p|^{\gamma_+} \, \big(y \log p + (1 - y) \log(1 - p)\big) & y > 0
        \end{cases}, \quad
        p = \sigma(z), \quad p_m = \max(p - m, 0)

    The factor y in brackets applies with ``iou_weighted`` only. The loss of a positive has its minimum at p = y; the
    minimum of :func:`asymmetric_loss` for a soft y is elsewhere.

    Special cases: ``gamma_neg = gamma_pos`` and ``clip=0`` give MMDetection's ``QualityFocalLoss`` with that ``beta``.
    ``gamma_pos=0`` and ``clip=0`` give its ``VarifocalLoss`` with ``gamma_neg`` as ``gamma`` and the same ``alpha`` and
    ``iou_weighted``. If all qualities are 0 or 1, the loss is :func:`asymmetric_loss`.

    Args:
        pred: Logits z (N, ..., C), or (N,) of one class, of a floating dtype. Half precision is computed in float32;
            positives in float64 if 0 < gamma_pos < 2, where y - p cancels visibly (by the reference always).
        target: ``(labels, scores)`` of shape (N, ...) or (N, ..., 1). The labels are class indices: 0 to C-1, C for
            background, -1 for a row that is ignored entirely. The scores are the qualities of these classes, floats in
            [0, 1]. Or dense scores of the shape of ``pred``, -1 for ignored; or labels alone, which have quality 1. A
            quality of 0 is a negative.
        weight: (N,) with a weight per row (even if N = C), the shape of ``pred``, or that shape flattened.
        gamma_pos: Exponent of the distance between a positive's p and its quality, real and >= 0: ``beta`` of QFL.
        gamma_neg: Focusing exponent of negatives, real and >= 0.
        clip: Probability margin m of negatives, 0 or in [1e-30, 1). None means 0.
        reduction, avg_factor: See :func:`asymmetric_loss`. The result for ``'none'`` has the shape of ``pred``, while
            QFL sums each row.
        alpha: Weight of negatives, >= 0, as in VFL. Unlike in ``asymmetric_loss``, positives are not weighted.
        iou_weighted: Multiply the loss of a positive by its quality, as VFL does.
        class_weight: Weight of each class, (C,), which multiplies every row.
        activated, check_target_range, backend: See :func:`asymmetric_loss`.

    Returns:
        Tensor: a scalar, or the shape of ``pred`` for ``'none'``, in float32 (float64 for float64 ``pred``). An empty
        sum is a zero through which gradients still flow.

    Raises:
        TypeError: If ``pred`` or the scores are not floating point, or the labels are not integers.
        ValueError: For a shape, a value or a combination that is not described above.

    Source: QFL: Li et al., "Generalized Focal Loss", arXiv 2006.04388; VFL: Zhang et al., "VarifocalNet",
    arXiv 2008.13367; negatives: Ridnik et al., arXiv 2009.14119v4.

    Example:
        >>> import torch
        >>> pred = torch.tensor([[2.0, -1.0, 0.0]], requires_grad=True)
        >>> loss = asymmetric_quality_loss(pred, (torch.tensor([0]), torch.tensor([0.6])), avg_factor=1)
        >>> loss.backward()
        >>> loss, pred.grad
        (tensor(0.0982, grad_fn=<...>), tensor([[0.0768, 0.0026, 0.0731]]))
        >>> asymmetric_quality_loss(pred, torch.tensor([[0.6, 0.0, 0.0]]), avg_factor=1)  # the same, dense
        tensor(0.0982, grad_fn=<...>)
    """
    return run_loss(
        OP,
        make_quality_asymmetry(gamma_pos, gamma_neg, clip, alpha, iou_weighted),
        pred,
        target,
        weight=weight,
        class_weight=class_weight,
        reduction=reduction,
        avg_factor=avg_factor,
        check_target_range=check_target_range,
        backend=backend,
        activated=activated,
        flatten_target=_flatten_quality_target,
    )


@cache_constants
def make_quality_asymmetry(
    gamma_pos=DEFAULTS.gamma_pos,
    gamma_neg=DEFAULTS.gamma_neg,
    clip=DEFAULTS.clip,
    alpha=DEFAULTS.alpha,
    iou_weighted=DEFAULTS.iou_weighted,
) -> QualityAsymmetry:
    """Return the checked constants, with the arguments and errors of :func:`asymmetric_quality_loss`."""
    checked = make_asymmetry(gamma_pos, gamma_neg, clip)
    return QualityAsymmetry(
        checked.gamma_pos, checked.gamma_neg, checked.clip, check_number('alpha', alpha, 0), bool(iou_weighted)
    )


def _flatten_quality_target(pred: Tensor, target: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
    """Return ``target`` as dense scores (R, C) or as labels and scores (R,), where ``pred`` has R rows."""
    if isinstance(target, Tensor):
        target = flatten_target(pred, target)
        return target if target.dim() == 2 else (target, torch.ones_like(target, dtype=torch.float32))
    rows = rows_and_classes(pred)[0]
    if not isinstance(target, tuple | list) or len(target) != 2:
        raise TypeError(f'target: expected dense scores or a tuple (labels, scores), got {type(target).__name__}')
    labels, scores = target
    shapes = (rows, (*rows, 1))
    if not isinstance(labels, Tensor) or labels.shape not in shapes:
        got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        hint = channels_hint('labels', pred, labels) if isinstance(labels, Tensor) else ''
        raise ValueError(
            f'target: expected labels of shape {tuple(rows)} beside pred {tuple(pred.shape)}, got {got}{hint}'
        )
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        kind = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f'target: expected scores of a floating dtype beside the labels, got {kind}')
    if scores.shape not in shapes or scores.device != pred.device:
        raise ValueError(
            f'target: expected scores of shape {tuple(rows)} on {pred.device}, got {tuple(scores.shape)} on '
            f'{scores.device}'
        )
    return flatten_class_index(pred, labels), scores.reshape(-1)
