"""The CPU backend: one softmax and the analytic gradient, in plain torch operations."""

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry
from mmasl.ops.softmax_asymmetric_loss.reference import lowest_log_probability, softmax_asymmetric_loss_reference
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label, ignored_rows


def softmax_asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: SoftmaxAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`softmax_asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    For float32 and float64 the gradient is computed with the loss, already weighted and scaled, and handed out by the
    first backward pass. A second one computes it again; so does the first for half precision, to round it once. A
    second derivative is the reference's. ``weight``, ``class_weight`` and ``target`` get no gradient.

    Example:
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = softmax_asymmetric_loss_cpu(
        ...     pred, torch.tensor([0]), None, None, 1.0, SoftmaxAsymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(0.6931), tensor([[-0.5000,  0.5000]]))
    """
    if check:
        check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    scale = float(scale) if isinstance(scale, Tensor) else scale
    constants = (target, weight, class_weight, scale, asymmetry)
    if torch.is_grad_enabled() and pred.requires_grad:
        return _SoftmaxAsymmetricLoss.apply(pred, *constants, reduce)
    return _compute(pred, *constants, reduce, want_grad=False)[0]


class _SoftmaxAsymmetricLoss(Function):
    @staticmethod
    def forward(ctx, pred, target, weight, class_weight, scale, asymmetry, reduce):
        half = pred.dtype not in (torch.float32, torch.float64)
        loss, ctx.grad = _compute(pred, target, weight, class_weight, scale, asymmetry, reduce, want_grad=not half)
        ctx.scale, ctx.asymmetry, ctx.reduce = scale, asymmetry, reduce
        ctx.save_for_backward(pred, target, weight, class_weight)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        constants = (*ctx.saved_tensors, ctx.scale, ctx.asymmetry, ctx.reduce)
        if torch.is_grad_enabled():  # create_graph=True
            pred = constants[0]
            loss = softmax_asymmetric_loss_reference(*constants)
            (grad,) = torch.autograd.grad(loss, pred, upstream, create_graph=True)
            return grad, None, None, None, None, None, None
        # The receiver owns the gradient and may write to it, so it is given away: no copy, and nothing saved changes.
        grad, ctx.grad = ctx.grad, None
        if grad is None:
            grad = _compute(*constants, want_grad=True)[1]
        grad.mul_(upstream if ctx.reduce else upstream.unsqueeze(1))
        return grad.to(constants[0].dtype), None, None, None, None, None, None


def _compute(pred, target, weight, class_weight, scale, asymmetry, reduce, want_grad) -> tuple[Tensor, Tensor | None]:
    """The loss, and its gradient (N, C) in the dtype that is computed in."""
    pred, weight, class_weight = (None if x is None else x.detach() for x in (pred, weight, class_weight))
    z = pred.to(torch.float64 if pred.dtype == torch.float64 else torch.float32)
    ignored = ignored_rows(target, asymmetry.ignore_index)
    if scale is None:
        scale = 1 / max(len(ignored) - int(ignored.sum()), 1)
    if z.numel() == 0:
        return z.new_zeros(() if reduce else len(z)), torch.zeros_like(z) if want_grad else None
    z = z.masked_fill(ignored.unsqueeze(1), 0)
    class_weight = None if class_weight is None else class_weight.to(z.dtype)
    wide = torch.float64 if reduce else z.dtype  # twice 3e38 may have a mean that fits
    loss, slope, p, log_p, label = _rows(z, target, asymmetry, class_weight, wide, want_grad)
    factor = torch.ones_like(loss, dtype=wide) if weight is None else weight.to(wide)
    factor = factor.masked_fill(ignored, 0)
    loss.masked_fill_(ignored, 0).mul_(factor)
    if reduce:
        loss = (loss.sum() * scale).to(z.dtype)
    if not want_grad:
        return loss, None
    factor = (factor * scale if reduce else factor).to(z.dtype).unsqueeze(1)
    return loss, _gradient(slope.mul_(factor), p, log_p, label)


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
    own, other = asymmetry.smoothed(num_classes)
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
