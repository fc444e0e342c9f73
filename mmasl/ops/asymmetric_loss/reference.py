"""Eq. 7 in plain torch operations, differentiable any number of times. Every other backend is compared with it."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.target import check_target, count_labelled, hard_or_soft, is_ignored


def asymmetric_loss_reference(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """Compute the asymmetric loss, Eq. 7 mixed by Eq. 2, times its weights.

    Args:
        pred: Logits (N, C) of any floating dtype. Half precision is computed in float32.
        target: Dense labels (N, C) in [0, 1], with -1 for ignored ones. Or class indices (N,), with C for background
            and -1 for an ignored row.
        weight: A weight per row (N,), a weight per element (N, C), or None.
        class_weight: A weight per class (C,), or None.
        scale: A number or a 0-d tensor that multiplies the reduced loss. None divides by the number of labels that
            are not ignored. It has no effect without ``reduce``.
        asymmetry: The constants.
        reduce: Return the sum over all elements, in float64 on the CPU, instead of the shape of ``pred``.
        check: Call :func:`check_target`, which raises for values out of range.

    Returns:
        Tensor: 0-d with ``reduce``, and otherwise (N, C), in float32 (float64 for float64 ``pred``).

    Example:
        >>> pred, target = torch.zeros(1, 2), torch.tensor([[1, 0]])
        >>> asymmetric_loss_reference(pred, target, None, None, 1.0, Asymmetry(0, 0, 0), reduce=False)
        tensor([[0.6931, 0.6931]])
    """
    if check:
        check_target(target, pred.shape[1])
    if scale is None:
        scale = 1 / count_labelled(target, pred.shape[1]).clamp(min=1)
    z = pred if pred.dtype == torch.float64 else pred.float()
    loss = _dense_loss(z, target, asymmetry) if target.dim() == 2 else _index_loss(z, target, asymmetry)
    return weigh_and_reduce(loss, weight, class_weight, scale, reduce)


def weigh_and_reduce(
    loss: Tensor, weight: Tensor | None, class_weight: Tensor | None, scale: float | Tensor, reduce: bool
) -> Tensor:
    """Multiply ``loss`` (N, C) by its weights, as :func:`asymmetric_loss_reference` does, and reduce it."""
    # The CPU sums in float64, where that is cheap: 3e38 times a weight, or twice 3e38, may have a mean that fits.
    wide = loss.double() if reduce and loss.device.type == 'cpu' else loss
    if weight is not None:
        wide = wide * (weight.unsqueeze(-1) if weight.dim() == 1 else weight)
    if class_weight is not None:
        wide = wide * class_weight
    return ((wide.sum() * scale) if reduce else wide).to(loss.dtype)


def _dense_loss(z: Tensor, target: Tensor, asymmetry: Asymmetry) -> Tensor:
    ignored, soft = is_ignored(target), hard_or_soft(target)
    soft = torch.where(ignored, torch.zeros_like(soft), soft).to(z.dtype)
    z = torch.where(ignored, torch.zeros_like(z), z)
    loss = soft * _positive(z, asymmetry) + (1 - soft) * _negative(z, asymmetry)
    return torch.where(ignored, torch.zeros_like(loss), loss)


def _index_loss(z: Tensor, target: Tensor, asymmetry: Asymmetry) -> Tensor:
    """Compute all columns as negatives, and then replace each foreground row's own column. No one-hot is built."""
    num_classes = z.shape[1]
    ignored = (target == -1).unsqueeze(1)
    z = torch.where(ignored, torch.zeros_like(z), z)
    loss = _negative(z, asymmetry)
    if num_classes:
        label = target.long().unsqueeze(1)
        foreground = (label >= 0) & (label < num_classes)
        column = label.clamp(0, num_classes - 1)
        own = torch.where(foreground, _positive(z.gather(1, column), asymmetry), loss.gather(1, column))
        loss = loss.scatter(1, column, own)
    return torch.where(ignored, torch.zeros_like(loss), loss)


def _positive(z: Tensor, asymmetry: Asymmetry) -> Tensor:
    """Compute ``-L+``, that is w * (-log p) with w = (1 - p)^gamma_pos."""
    focus = _focus(-z, asymmetry.gamma_pos, asymmetry.detach_focus)
    loss = -logsigmoid(z) if focus is None else -focus * logsigmoid(z)
    return loss if asymmetry.alpha is None else asymmetry.alpha * loss


def _negative(z: Tensor, asymmetry: Asymmetry) -> Tensor:
    """Compute ``-L-``, that is p_m^gamma_neg * (-log(1 - p_m)) with p_m = max(p - m, 0)."""
    clip = asymmetry.clip
    if isinstance(clip, Tensor):  # it may be 0 for some classes
        inside = _negative_beyond_margin(z, torch.where(clip > 0, clip, 0.5), asymmetry)
        loss = torch.where(clip > 0, inside, _negative_without_margin(z, asymmetry))
    elif clip == 0:
        loss = _negative_without_margin(z, asymmetry)
    else:
        loss = _negative_beyond_margin(z, clip, asymmetry)
    return loss if asymmetry.alpha is None else (1 - asymmetry.alpha) * loss


def _negative_without_margin(z: Tensor, asymmetry: Asymmetry) -> Tensor:
    focus = _focus(z, asymmetry.gamma_neg, asymmetry.detach_focus)
    return -logsigmoid(-z) if focus is None else -focus * logsigmoid(-z)


def _focus(z: Tensor, gamma: float | Tensor, detach: bool) -> Tensor | None:
    """Return sigmoid(z)^gamma, or None if gamma is 0.

    The power is computed through the logarithm, because its derivative at 0 is infinite for gamma < 1. z is clamped,
    because z = -3e38 would lead to 0 * inf. At the bounds the weight has underflowed or reached 1.
    """
    if is_zero(gamma):
        return None
    bound = 745.0 if z.dtype == torch.float64 else 100.0
    focus = torch.exp(gamma * logsigmoid(z.clamp(-bound, bound)))
    return focus.detach() if detach else focus


def _negative_beyond_margin(z: Tensor, clip: float | Tensor, asymmetry: Asymmetry) -> Tensor:
    gamma = asymmetry.gamma_neg
    hi, lo = margin_logit_tensor(clip) if isinstance(clip, Tensor) else margin_logit(clip, z.dtype)
    distance = (z - hi) - lo
    active = ~(distance <= 0)  # NaN is active, so that the loss of a model that has diverged is NaN
    # torch.where differentiates both sides, so inactive entries get a harmless value.
    z = torch.where(active, z, hi + 1)
    distance = torch.where(active, distance, torch.ones_like(z))
    u = torch.sigmoid(-z) + clip  # 1 - p_m, without cancellation near p = 1
    upper = u < 0.5
    # p - m loses its leading digits next to the margin. This product does not.
    lower_p_m = -torch.sigmoid(z) * (1 - clip) * torch.expm1(-distance)
    lower_p_m = torch.where(upper, torch.full_like(z, 0.25), lower_p_m)
    log_loss = torch.where(upper, -torch.log(u), -torch.log1p(-lower_p_m))
    if not is_zero(gamma):
        focus = torch.where(upper, 1 - u, lower_p_m) ** gamma
        log_loss = (focus.detach() if asymmetry.detach_focus else focus) * log_loss
    return torch.where(active, log_loss, torch.zeros_like(z))


def is_zero(gamma: float | Tensor) -> bool:
    return not isinstance(gamma, Tensor) and gamma == 0
