"""One softmax and the analytic gradient in plain torch operations: the CPU backend where no compiler was at hand."""

import torch
from torch import Tensor

from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry, smoothed
from mmasl.ops.softmax_asymmetric_loss.reference import lowest_log_probability
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label, ignored_rows


def fill_plain(
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
    """Fill ``loss`` and ``grad`` in place.

    Args:
        pred, target, weight, class_weight, scale, asymmetry, check: As :func:`softmax_asymmetric_loss_reference` takes
            them; scale None divides by the number of rows that are not ignored.
        loss: 0-d for the scaled sum, or (N,); float32, or float64 for float64 ``pred``. None leaves it out.
        grad: (N, C) contiguous of the dtype of ``pred``, or None.
        upstream: The gradient that reaches the loss, of its shape; multiplied to ``grad``. None is 1.
    """
    if check:
        check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    reduce = (loss if loss is not None else upstream).dim() == 0
    pred, weight, class_weight = (None if x is None else x.detach() for x in (pred, weight, class_weight))
    z = pred.to(torch.float64 if pred.dtype == torch.float64 else torch.float32)
    ignored = ignored_rows(target, asymmetry.ignore_index)
    if scale is None:
        scale = 1 / max(len(ignored) - int(ignored.sum()), 1)
    if z.numel() == 0:
        if loss is not None:
            loss.zero_()
        return
    z = z.masked_fill(ignored.unsqueeze(1), 0)
    class_weight = None if class_weight is None else class_weight.to(z.dtype)
    wide = torch.float64 if reduce else z.dtype  # twice 3e38 may have a mean that fits
    value, slope, p, log_p, label = _rows(z, target, asymmetry, class_weight, wide, grad is not None)
    factor = torch.ones_like(value, dtype=wide) if weight is None else weight.to(wide)
    factor = factor.masked_fill(ignored, 0)
    value.masked_fill_(ignored, 0).mul_(factor)
    if loss is not None:
        loss.copy_(value.sum() * scale if reduce else value)
    if grad is None:
        return
    factor = factor * scale if reduce else factor
    if upstream is not None:
        factor = factor * upstream
    grad.copy_(_gradient(slope.mul_(factor.to(z.dtype).unsqueeze(1)), p, log_p, label))


def _gradient(slope: Tensor, p: Tensor, log_p: Tensor, label: Tensor | None) -> Tensor:
    """By logit from ``slope``, the derivative by log p: slope - p * total, without its cancellation near p = 1."""
    if label is not None:  # one column of slopes: the labelled class's
        own = -slope * torch.expm1(log_p.gather(1, label))
        return p.mul_(-slope).scatter_(1, label, own)
    total = slope.sum(1, keepdim=True)
    return p.mul_(slope - total).sub_(slope.mul_(torch.expm1(log_p)))


def _rows(z, target, asymmetry, class_weight, wide, want_slope):
    """Loss (N,) in ``wide``; slopes by log p, (N, C) or (N, 1); p; log p; the column of the slopes, or None for all."""
    num_classes = z.shape[1]
    own, other = smoothed(asymmetry.label_smoothing, num_classes)
    p, log_p = _softmax(z)
    if target.dim() == 1:
        label = target.long().clamp(0, num_classes - 1).unsqueeze(1)
        value, slope = _positive(p.gather(1, label), log_p.gather(1, label), asymmetry, own, want_slope)
        if other == 0:
            columns = None if class_weight is None else class_weight[label]
        else:
            labelled, columns = (value, slope), class_weight
            value, slope = _negative(p, log_p, asymmetry, other, want_slope)
            value.scatter_(1, label, labelled[0])
            if want_slope:
                slope.scatter_(1, label, labelled[1])
            label = None
    else:
        label, columns, soft = None, class_weight, target.detach().to(z.dtype)
        value, slope = _positive(p, log_p, asymmetry, own, want_slope)
        value *= soft
        if want_slope:
            slope *= soft
        if other != 0:
            for output, side in zip((value, slope), _negative(p, log_p, asymmetry, other, want_slope), strict=True):
                if output is not None:
                    output += side.mul_(1 - soft)
    value = value.to(wide)
    if columns is not None:
        value = value * columns
        slope = slope * columns if want_slope else None
    return value.sum(1), slope, p, log_p, label


def _softmax(z: Tensor) -> tuple[Tensor, Tensor]:
    """p and log p, with the largest p's 1 - p = -expm1(log p) right to the last digits: it is left out of the sum."""
    highest, peak = z.max(1, keepdim=True)
    log_p = (z - highest).clamp_(min=lowest_log_probability(z.dtype))
    p = log_p.exp()
    rest = p.scatter(1, peak, 0.0).sum(1, keepdim=True)
    return p.div_(1 + rest), log_p.sub_(rest.log1p())


def _positive(p, log_p, asymmetry, factor, want_slope) -> tuple[Tensor, Tensor | None]:
    """``factor`` times (1 - p)^gamma_pos * (-log p), and its derivative by log p."""
    gamma = asymmetry.gamma_pos
    if gamma == 0:
        return -factor * log_p, torch.full_like(log_p, -factor) if want_slope else None
    q = -torch.expm1(log_p)
    focus = factor * q**gamma
    slope = None
    if want_slope:
        slope = -focus
        if not asymmetry.detach_focus:
            ratio = torch.where(q > 0, -log_p / q, 1.0)
            slope *= 1 + gamma * (p * ratio)  # the inner product first: the ratio may be 3e38, where p is 0
    return focus * -log_p, slope


def _negative(p, log_p, asymmetry, factor, want_slope) -> tuple[Tensor, Tensor | None]:
    """``factor`` times p^gamma_neg * (-log p), and its derivative by log p."""
    gamma = asymmetry.gamma_neg
    if gamma == 0:
        return -factor * log_p, torch.full_like(log_p, -factor) if want_slope else None
    focus = factor * torch.exp(gamma * log_p)
    value = focus * -log_p
    slope = None
    if want_slope:
        slope = -focus if asymmetry.detach_focus else gamma * value - focus
    return value, slope
