"""What the CPU backends share: how the one pass over the logits enters autograd, and what is kept for backward."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.compat import is_followed


def run_on_cpu(
    fill: Callable, reference: Callable, pred: Tensor, constants: tuple, shape: tuple, check: bool
) -> Tensor:
    """The loss of ``reference``, computed by ``fill`` together with its gradient.

    For float32 and float64 the gradient is computed with the loss, already weighted and scaled, and handed out by the
    first backward pass. A second one computes it again; so does the first for half precision, to round it once. A
    second derivative is the reference's.

    Args:
        fill: ``fill(pred, *constants, check, loss, grad, upstream=None)`` fills ``loss`` and ``grad``, of which one may
            be None; ``upstream`` is the gradient that reaches the loss.
        reference: ``reference(pred, *constants, reduce)``.
        constants: Target, weight, class weight, scale and the constants of the equation. They get no gradient.
        shape: Of the loss; () where it is reduced.
    """
    if torch.is_grad_enabled() and pred.requires_grad:
        return _Loss.apply(pred, fill, reference, constants, shape, check)
    loss = _new_loss(pred, shape)
    fill(pred, *constants, check, loss, None)
    return loss


class _Loss(Function):
    """``constants`` is one argument, since autograd looks at each: 128 x 80 logits cost little more than the calls."""

    @staticmethod
    def forward(ctx, pred, fill, reference, constants, shape, check):
        loss = _new_loss(pred, shape)
        grad = _new_grad(pred) if pred.dtype == loss.dtype else None
        fill(pred, *constants, check, loss, grad)
        target, weight, class_weight, *ctx.numbers = constants
        ctx.fill, ctx.reference, ctx.grad, ctx.reduce = fill, reference, grad, shape == ()
        ctx.save_for_backward(pred, target, weight, class_weight)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        # The receiver owns the gradient and may write to it, so it is given away: no copy, and nothing saved changes.
        grad, ctx.grad = ctx.grad, None
        if torch.is_grad_enabled() or is_followed(upstream):  # create_graph=True, or a batch of upstream gradients
            pred, *labels = ctx.saved_tensors
            grad = differentiate(ctx.reference, pred, labels, ctx.numbers, ctx.reduce, upstream)
        elif grad is None:
            pred, *labels = ctx.saved_tensors
            grad = _new_grad(pred)
            ctx.fill(pred, *labels, *ctx.numbers, False, None, grad, upstream)
        elif not ctx.reduce or upstream.item() != 1:
            grad.mul_(upstream.unsqueeze(1) if upstream.dim() == 1 else upstream)  # a loss a row
        return grad, None, None, None, None, None


def differentiate(reference: Callable, pred: Tensor, labels: list, numbers: list, reduce: bool, upstream: Tensor):
    """The gradient of the reference, itself differentiable where gradients are enabled."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        loss = reference(pred, *labels, *numbers, reduce)
    return torch.autograd.grad(loss, pred, upstream, create_graph=create_graph)[0]


def _new_loss(pred: Tensor, shape: tuple) -> Tensor:
    return pred.new_empty(shape, dtype=torch.float64 if pred.dtype == torch.float64 else torch.float32)


def _new_grad(pred: Tensor) -> Tensor:
    return torch.empty_like(pred, memory_format=torch.contiguous_format)
