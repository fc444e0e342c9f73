"""How losses that are computed together with their gradient enter autograd, and what is kept for the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.compat import is_followed


class Given(NamedTuple):
    """What a loss is computed from beside the logits, as the references describe it. Nothing here gets a gradient."""

    target: Any  # a tensor or, for quality targets, a pair of them
    weight: Tensor | None
    class_weight: Tensor | None
    scale: float | Tensor | None
    asymmetry: Any  # the named tuple of the op


class Computed(NamedTuple):
    """What one pass over the logits returns.

    Attributes:
        loss: The reduced loss, or one loss an entry or a row; float32, or float64 for float64 logits.
        slope: The derivative by each logit in the dtype of ``loss``, or None where it was not asked for.
        scale: ``slope`` still has to be multiplied by it; a 0-d tensor stays on its device.
    """

    loss: Tensor
    slope: Tensor | None
    scale: float | Tensor = 1.0


def run_analytic(
    compute: Callable, reference: Callable, pred: Tensor, given: Given, reduce: bool, check: bool
) -> Tensor:
    """The loss of ``reference``, computed by ``compute`` together with its gradient.

    The slope is the one tensor that is kept beside the inputs. The first backward pass multiplies it in place and gives
    it away; a further one computes it again. Half precision is rounded once, then. A second derivative is that of the
    reference. Without grad mode, or if ``pred`` requires no gradient, no slope is computed.

    Args:
        compute: ``compute(pred, given, reduce, check, with_slope)`` returns a :class:`Computed`.
        reference: ``reference(pred, *given, reduce)``.
        pred: Logits (N, C).
        given: Everything else that the loss depends on.
        reduce: Whether the loss is summed and scaled.
        check: Whether targets are checked to be in their range.
    """
    if torch.is_grad_enabled() and pred.requires_grad:
        return _Loss.apply(pred, compute, reference, given, reduce, check)
    return compute(pred, given, reduce, check, False).loss


class _Loss(Function):
    """``given`` is one argument because autograd looks at each: 128 x 80 logits cost little more than the calls."""

    @staticmethod
    def forward(ctx, pred, compute, reference, given, reduce, check):
        loss, ctx.slope, ctx.slope_scale = compute(pred, given, reduce, check, True)
        targets = given.target if isinstance(given.target, tuple) else (given.target,)
        ctx.save_for_backward(pred, given.weight, given.class_weight, *targets)
        ctx.scale, ctx.asymmetry = given.scale, given.asymmetry
        ctx.compute, ctx.reference, ctx.reduce, ctx.dtype = compute, reference, reduce, pred.dtype
        return loss

    @staticmethod
    def backward(ctx, upstream):
        # The receiver owns the gradient and may write to it, so it is given away: no copy, and nothing saved changes.
        slope, scale, ctx.slope = ctx.slope, ctx.slope_scale, None
        followed = is_followed(upstream)  # a batch of upstream gradients, for example
        if torch.is_grad_enabled() or (slope is None and followed):  # the former: create_graph=True
            pred, (*labels, scale, asymmetry) = _unpack(ctx)
            gradient = differentiate(ctx.reference, pred, labels, [scale, asymmetry], ctx.reduce, upstream)
            return gradient, None, None, None, None, None
        if slope is None:
            _, slope, scale = ctx.compute(*_unpack(ctx), ctx.reduce, False, True)
        if followed:
            ctx.slope = slope
        return _finish(slope, upstream, scale, ctx.dtype, followed), None, None, None, None, None


def _unpack(ctx) -> tuple[Tensor, Given]:
    pred, weight, class_weight, *targets = ctx.saved_tensors
    target = targets[0] if len(targets) == 1 else tuple(targets)
    return pred, Given(target, weight, class_weight, ctx.scale, ctx.asymmetry)


def _finish(slope: Tensor, upstream: Tensor, scale: float | Tensor, dtype: torch.dtype, followed: bool) -> Tensor:
    """``slope * upstream * scale`` in ``dtype``, rounded once; in place where that is the dtype of ``slope``."""
    factor = upstream if isinstance(scale, float) and scale == 1 else upstream * scale
    if factor.dim() == 1:  # one loss a row
        factor = factor.unsqueeze(1)
    if followed:
        return (slope * factor).to(dtype)
    if slope.dtype != dtype:
        return torch.mul(slope, factor, out=torch.empty_like(slope, dtype=dtype))
    if factor.is_cpu and factor.dim() == 0 and factor.item() == 1:
        return slope
    return slope.mul_(factor)


def differentiate(reference: Callable, pred: Tensor, labels: list, numbers: list, reduce: bool, upstream: Tensor):
    """The gradient of the reference, itself differentiable where gradients are enabled."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        loss = reference(pred, *labels, *numbers, reduce)
    return torch.autograd.grad(loss, pred, upstream, create_graph=create_graph)[0]


def zero_at_most(values: Tensor, key: Tensor, bound: float) -> Tensor:
    """``values`` with 0 in place wherever ``key <= bound``, also of NaN: that is how torch computes ReLU's gradient.

    On the CPU torch vectorises it, and neither comparisons nor ``masked_fill_`` and ``where``.

    Example:
        >>> zero_at_most(torch.tensor([torch.nan, 2.0]), torch.tensor([-1.0, 0.0]), -0.5)
        tensor([0., 2.])
    """
    return torch.ops.aten.threshold_backward.grad_input(values, key, bound, grad_input=values)
