"""Loss and analytic gradient in one pass of torch operations, which need no compiler, on every device with float64.

Of tensors on a GPU the host reads no value, and class indices are never expanded to (N, C).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import threshold

from mmasl.compat import at_least_float32
from mmasl.ops.analytic import LOSS_UNIT, Computed, Given, product, with_analytic_gradient, zero_at_most
from mmasl.ops.softmax_asymmetric_loss.reference import (
    check_single_label,
    ignored_rows,
    lowest_log_probability,
    smoothed,
    softmax_asymmetric_loss_reference,
)
from mmasl.ops.target import may_ignore


def compute_plain(pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool) -> Computed:
    """Compute loss and slope, as :class:`Computed` describes them."""
    target, weight, class_weight, scale, asymmetry = given
    index = target.dim() == 1
    if check:
        ignores = check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    else:
        ignores = index or may_ignore(target)
    ignored = ignored_rows(target, asymmetry.ignore_index) if ignores else None
    if scale is None and reduce:
        scale = 1 / (max(1, len(pred)) if ignored is None else (~ignored).sum(dtype=torch.float64).clamp(min=1))
    dtype = at_least_float32(pred.dtype)
    if pred.numel() == 0:
        loss = torch.zeros(() if reduce else pred.shape[:1], dtype=dtype, device=pred.device)
        return Computed(loss, torch.zeros_like(pred, dtype=dtype))
    row = _Softmax(pred.detach().to(dtype))
    entries = _index_entries if index else _dense_entries
    class_weight = None if class_weight is None else class_weight.detach().to(dtype)
    loss, slope = entries(row, target, asymmetry, class_weight, reduce, with_slope)
    if weight is not None:
        weight = weight.detach().to(dtype)
        loss = loss * weight
        if with_slope:
            slope.mul_(weight.unsqueeze(1))
    if ignored is not None:
        loss = torch.where(ignored, 0.0, loss)
        if with_slope:
            zero_at_most(slope, (~ignored).to(dtype).unsqueeze(1).expand_as(slope), 0.5)
    return Computed(product(loss.sum(), scale, dtype), slope, scale) if reduce else Computed(loss, slope)


softmax_asymmetric_loss_plain = with_analytic_gradient(softmax_asymmetric_loss_reference, compute_plain)


class _Softmax:
    """p and log p (N, C). The sum leaves out the largest logit, so that its 1 - p keeps its digits."""

    def __init__(self, z: Tensor):
        highest, self.peak = z.max(1, keepdim=True)
        self.log_p = (z - highest).clamp_(min=lowest_log_probability(z.dtype))
        self.p = self.log_p.softmax(1)
        self.p_peak = self.p.gather(1, self.peak)
        self.q_peak = self.p.scatter_(1, self.peak, 0.0).sum(1, keepdim=True)
        self.p.scatter_(1, self.peak, self.p_peak)
        self.log_p.sub_((self.q_peak / self.p_peak).log1p())

    def at(self, column: Tensor) -> tuple[Tensor, Tensor]:
        """Return p and 1 - p of one column per row, (N, 1)."""
        p = self.p.gather(1, column)
        return p, torch.where(column == self.peak, self.q_peak, 1 - p)

    def gradient(self, slope: Tensor) -> Tensor:
        """Turn ``slope``, the derivative by log p, into the derivative by the logits, in place.

        This is slope - p * (the sum of all slopes), which cancels where p is next to 1. There it is computed as
        slope * (1 - p) - p * (the sum of the other slopes).
        """
        total, own = slope.sum(1, keepdim=True), slope.gather(1, self.peak)
        own = own * self.q_peak - self.p_peak * (total - own)
        return slope.addcmul_(self.p, total, value=-1).scatter_(1, self.peak, own)


def _index_entries(row, target, asymmetry, class_weight, reduce, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute loss (N,) and slope (N, C) for class indices."""
    num_classes = row.p.shape[1]
    own, other = smoothed(asymmetry.label_smoothing, num_classes)
    label = target.long().clamp(0, num_classes - 1).unsqueeze(1)
    p, q = row.at(label) if asymmetry.gamma_pos or other == 0 else (None, None)
    value, slope = _positive(p, row.log_p.gather(1, label), q, asymmetry, own, with_slope)
    if other == 0:  # only the labelled class has a term
        weight = None if class_weight is None else class_weight[label]
        loss, slope = _sum_of_classes(value, slope, weight, reduce)
        return loss, row.p.mul_(-slope).scatter_(1, label, slope * q) if with_slope else None
    values, slopes = _negative(row.p, row.log_p, asymmetry, other, with_slope)
    values.scatter_(1, label, value)
    if with_slope:
        slopes.scatter_(1, label, slope)
    loss, slopes = _sum_of_classes(values, slopes, class_weight, reduce)
    return loss, row.gradient(slopes) if with_slope else None


def _dense_entries(row, target, asymmetry, class_weight, reduce, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute loss (N,) and slope (N, C) for dense labels. Both are linear in the label."""
    own, other = smoothed(asymmetry.label_smoothing, row.p.shape[1])
    soft = target.detach().to(row.p.dtype)
    q = (1 - row.p).scatter_(1, row.peak, row.q_peak)
    outputs = list(_positive(row.p, row.log_p, q, asymmetry, own, with_slope))
    if other == 0:
        outputs = [None if output is None else output.mul_(soft) for output in outputs]
    else:
        sides = zip(_negative(row.p, row.log_p, asymmetry, other, with_slope), outputs, strict=True)
        outputs = [None if output is None else output.lerp_(labelled, soft) for output, labelled in sides]
    loss, slope = _sum_of_classes(*outputs, class_weight, reduce)  # type: ignore[call-arg]
    return loss, row.gradient(slope) if with_slope else None


def _sum_of_classes(value, slope, class_weight, reduce) -> tuple[Tensor, Tensor | None]:
    """Multiply both in place by the class weights, and sum the loss of each row.

    With ``reduce`` the sums are float64, because twice 3e38, or 3e38 times a weight, may have a mean that fits.
    """
    if class_weight is not None:
        value.mul_(class_weight / LOSS_UNIT if reduce else class_weight)
        slope = None if slope is None else slope.mul_(class_weight)
    if not reduce:
        return value.sum(1), slope
    total = value.sum(1, dtype=None if value.is_cpu else torch.float64)
    if value.is_cpu and not math.isfinite(total.sum().item()):  # float64 takes the CPU more than twice the time
        total = value.sum(1, dtype=torch.float64)
    return total.double() if class_weight is None else total.double() * LOSS_UNIT, slope


def _positive(p, log_p, q, asymmetry, factor, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute ``factor`` * q^gamma_pos * (-log p) and its derivative by log p, in new memory."""
    gamma = asymmetry.gamma_pos
    if gamma == 0:
        return -factor * log_p, torch.full_like(log_p, -factor) if with_slope else None
    focus = (q**gamma).mul_(-factor)
    slope = None
    if with_slope:
        slope = focus.clone()
        if not asymmetry.detach_focus:
            ratio = torch.where(q > 0, -log_p / q, 1.0)
            slope *= 1 + gamma * (p * ratio)  # the ratio may be 3e38 where p is 0
    return focus.mul_(log_p), slope


def _negative(p, log_p, asymmetry, factor, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute ``factor`` * p^gamma_neg * (-log p), in the memory of ``log_p``, and its derivative by log p.

    A power is 0 where its product with ``factor`` and a scale of 1e-8 would be subnormal, because processors multiply
    subnormal numbers up to a hundred times more slowly.
    """
    gamma = asymmetry.gamma_neg
    if gamma == 0:
        return log_p.mul_(-factor), torch.full_like(log_p, -factor) if with_slope else None
    smallest = math.log(torch.finfo(p.dtype).tiny / factor * 1e8)
    if gamma in (1, 2, 3, 4):
        focus = threshold(p, math.exp(smallest / gamma), 0.0)
        focus = focus.square_().square_() if gamma == 4 else focus.pow_(gamma)
    else:
        focus = threshold(gamma * log_p, smallest, -math.inf, inplace=True).exp_()
    focus.mul_(-factor)
    value = log_p.mul_(focus)
    slope = None
    if with_slope:
        slope = focus if asymmetry.detach_focus else focus.add_(value, alpha=gamma)
    return value, slope
