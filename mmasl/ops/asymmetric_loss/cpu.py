"""The CPU backend: one pass for loss and gradient, compiled (cpu.cpp) where it was built, else in blocks.py."""

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.ops.asymmetric_loss import compiled
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.blocks import fill_blocks
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference


def asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    For float32 and float64 the gradient is computed with the loss, already weighted and scaled, and handed out by the
    first backward pass. A second one computes it again; so does the first for half precision, to round it once. A
    second derivative is the reference's. ``weight``, ``class_weight`` and ``target`` get no gradient.

    Example:
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = asymmetric_loss_cpu(pred, torch.tensor([0]), None, None, 1.0, Asymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(1.3863), tensor([[-0.5000,  0.5000]]))
    """
    if asymmetry.has_tensors:
        asymmetry = asymmetry.read_scalars()
    scale = float(scale) if isinstance(scale, Tensor) else scale
    constants = (target, weight, class_weight, scale, asymmetry)
    if torch.is_grad_enabled() and pred.requires_grad:
        return _AsymmetricLoss.apply(pred, constants, reduce, check)
    loss = _new_loss(pred, reduce)
    _fill(pred, *constants, check, loss, None)
    return loss


class _AsymmetricLoss(Function):
    """``constants`` is one argument, since autograd looks at each: 128 x 80 logits cost little more than the calls."""

    @staticmethod
    def forward(ctx, pred, constants, reduce, check):
        loss = _new_loss(pred, reduce)
        grad = _new_grad(pred) if pred.dtype == loss.dtype else None
        _fill(pred, *constants, check, loss, grad)
        target, weight, class_weight, *ctx.numbers = constants
        ctx.reduce, ctx.grad = reduce, grad
        ctx.save_for_backward(pred, target, weight, class_weight)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        # The receiver owns the gradient and may write to it, so it is given away: no copy, and nothing saved changes.
        grad, ctx.grad = ctx.grad, None
        if torch.is_grad_enabled():  # create_graph=True
            pred, *labels = ctx.saved_tensors
            loss = asymmetric_loss_reference(pred, *labels, *ctx.numbers, ctx.reduce)
            (grad,) = torch.autograd.grad(loss, pred, upstream, create_graph=True)
        elif grad is None:
            pred, *labels = ctx.saved_tensors
            grad = _new_grad(pred)
            _fill(pred, *labels, *ctx.numbers, False, None, grad, upstream)
        elif not ctx.reduce or upstream.item() != 1:
            grad.mul_(upstream)
        return grad, None, None, None


def _fill(*arguments) -> None:
    (compiled.fill_compiled if compiled.LIBRARY is not None else fill_blocks)(*arguments)


def _new_loss(pred: Tensor, reduce: bool) -> Tensor:
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    return pred.new_empty(() if reduce else pred.shape, dtype=dtype)


def _new_grad(pred: Tensor) -> Tensor:
    return torch.empty_like(pred, memory_format=torch.contiguous_format)
