"""Losses that are computed together with their gradient: how they enter autograd, and what they keep for backward."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.compat import is_followed, overwrite

LOSS_UNIT = 2.0**32  # the unit of weighted losses that are summed, so that 3e38 times a weight does not overflow


class Given(NamedTuple):
    """The arguments of a loss besides the logits; the references describe them. None of them gets a gradient."""

    target: Any  # a tensor or, for quality targets, a pair of them
    weight: Tensor | None
    class_weight: Tensor | None
    scale: float | Tensor | None
    asymmetry: Any  # the named tuple of the op


class Computed(NamedTuple):
    """What one pass over the logits returns.

    Attributes:
        loss: The reduced loss, or a loss for each entry or row; float32, or float64 for float64 logits.
        slope: The derivative by each logit in the dtype of ``loss``, or None if it was not asked for.
        scale: A factor by which ``slope`` still has to be multiplied; a 0-d tensor stays on its device.
    """

    loss: Tensor
    slope: Tensor | None
    scale: float | Tensor = 1.0


def with_analytic_gradient(reference: Callable, compute: Callable) -> Callable:
    """Return a backend: a function with the arguments of ``reference`` whose loss and gradient ``compute`` computes.

    Besides the inputs, the slope is the only tensor that is kept. The first backward pass multiplies it in place and
    gives it away, and further passes compute it again. Half precision is rounded once, at that point. The second
    derivative is the reference's. Without grad mode, or if the logits require no gradient, no slope is computed.

    Args:
        reference: ``reference(pred, *given, reduce)`` is differentiable twice.
        compute: ``compute(pred, given, reduce, check, with_slope, **options)`` returns a :class:`Computed`. With
            ``check`` it raises for targets out of range. The backend passes its keyword arguments on as options.

    Example:
        >>> def squares(pred, given, reduce, check, with_slope):
        ...     return Computed(pred.detach().square().sum(), 2 * pred.detach())
        >>> run = with_analytic_gradient(lambda pred, *constants: pred.square().sum(), squares)
        >>> pred = torch.tensor([3.0], requires_grad=True)
        >>> run(pred, None, None, None, 1.0, None, reduce=True).backward()
        >>> pred.grad
        tensor([6.])
    """

    def backend(
        pred: Tensor, target, weight, class_weight, scale, asymmetry, reduce: bool, check: bool = False, **options
    ) -> Tensor:
        run = partial(compute, **options) if options else compute
        given = Given(target, weight, class_weight, scale, asymmetry)
        if torch.is_grad_enabled() and pred.requires_grad:
            return _Loss.apply(pred, run, reference, given, reduce, check)
        return run(pred, given, reduce, check, False).loss

    return backend


class _Loss(Function):
    """``given`` is one argument because autograd looks at each: 128 x 80 logits cost little more than the calls."""

    @staticmethod
    def forward(ctx, pred, compute, reference, given, reduce, check):
        computed = compute(pred, given, reduce, check, True)
        ctx.slope, ctx.slope_scale = computed.slope, computed.scale
        targets = given.target if isinstance(given.target, tuple) else (given.target,)
        ctx.save_for_backward(pred, given.weight, given.class_weight, *targets)
        ctx.scale, ctx.asymmetry = given.scale, given.asymmetry
        ctx.compute, ctx.reference, ctx.reduce, ctx.dtype = compute, reference, reduce, pred.dtype
        return computed.loss

    @staticmethod
    def backward(ctx, upstream):
        # The receiver owns the gradient and may write to it, so the slope is given away, without a copy.
        slope, scale, ctx.slope = ctx.slope, ctx.slope_scale, None
        followed = is_followed(upstream)  # a batch of upstream gradients, for example
        if torch.is_grad_enabled() or (slope is None and followed):  # the former with create_graph=True
            return differentiate(ctx.reference, *_unpack(ctx), ctx.reduce, upstream), None, None, None, None, None
        if slope is None:
            computed = ctx.compute(*_unpack(ctx), ctx.reduce, False, True)
            slope, scale = computed.slope, computed.scale
        if followed:
            ctx.slope = slope
        return _finish(slope, upstream, scale, ctx.dtype, followed), None, None, None, None, None


def _unpack(ctx) -> tuple[Tensor, Given]:
    pred, weight, class_weight, *targets = ctx.saved_tensors
    target = targets[0] if len(targets) == 1 else tuple(targets)
    return pred, Given(target, weight, class_weight, ctx.scale, ctx.asymmetry)


def _finish(slope: Tensor, upstream: Tensor, scale: float | Tensor, dtype: torch.dtype, followed: bool) -> Tensor:
    """Return ``slope * upstream * scale`` in ``dtype``, rounded once; in place if that is the dtype of ``slope``."""
    factor: float | Tensor
    if upstream.is_cpu and upstream.dim() == 0 and not followed:  # numbers are faster than tensors that hold one
        factor = upstream.item() * float(scale)
        if factor == 1 and slope.dtype == dtype:
            return slope
    else:
        factor = upstream if isinstance(scale, float) and scale == 1 else upstream * scale
        factor = factor.unsqueeze(1) if factor.dim() == 1 else factor  # a loss for each row
    if followed:
        return (slope * factor).to(dtype)
    if slope.dtype != dtype:
        return product(slope, factor, dtype)
    return slope.mul_(factor)


def product(values: Tensor, factor: float | Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``(values * factor).to(dtype)`` with one kernel."""
    return torch.mul(values, factor, out=torch.empty_like(values, dtype=dtype))


def differentiate(reference: Callable, pred: Tensor, given: Given, reduce: bool, upstream: Tensor) -> Tensor:
    """Return the gradient of the reference, which is differentiable itself if gradients are enabled."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        loss = reference(pred, *given, reduce)
    return torch.autograd.grad(loss, pred, upstream, create_graph=create_graph)[0]


def weigh_and_sum(
    loss: Tensor, slope: Tensor | None, weights: Sequence[Tensor | None], reduce: bool
) -> tuple[Tensor, Tensor | None]:
    """Multiply loss and slope in place by the weights that are not None, and sum the loss in float64 with ``reduce``.

    A sum of losses of 3e38, or of their products with weights, may have a mean that fits into float32.

    Example:
        >>> weigh_and_sum(torch.tensor([3e38]), torch.tensor([2.0]), [torch.tensor(4.0), None], reduce=True)
        (tensor(1.2000e+39, dtype=torch.float64), tensor([8.]))
    """
    factors = [weight.detach().to(loss.dtype) for weight in weights if weight is not None]
    if slope is not None:
        for factor in factors:
            slope.mul_(factor)
    if reduce and factors:
        factors[0] = factors[0] / LOSS_UNIT
    for factor in factors:
        loss.mul_(factor)
    if not reduce:
        return loss, slope
    total = loss.sum(dtype=torch.float64)
    return total * LOSS_UNIT if factors else total, slope


def zero_at_most(values: Tensor, key: Tensor, bound: float) -> Tensor:
    """Return ``values``, set to 0 in place wherever ``key <= bound``, even if they are NaN.

    This is how torch computes the gradient of ReLU. On the CPU torch vectorises it, unlike comparisons,
    ``masked_fill_`` and ``where``.

    Example:
        >>> zero_at_most(torch.tensor([torch.nan, 2.0]), torch.tensor([-1.0, 0.0]), -0.5)
        tensor([0., 2.])
    """
    return overwrite(values, torch.ops.aten.threshold_backward, key, bound)
