"""Loss and analytic gradient in one pass of whole-tensor torch operations: for every device, with no compiler at hand.

Nothing is read by the host, no shape depends on data, and no (N, C) tensor is made of class indices. Comparisons and
``torch.where`` cost more than arithmetic on the CPU, which does not vectorise them, so masks are avoided.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmasl.compat import at_least_float32
from mmasl.ops.analytic import Computed, Given, run_analytic, zero_at_most
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.target import check_target, count_labelled

BLOCK = 1 << 17  # logits that are computed at a time on the CPU: the temporaries stay in its caches
LINEAR = 40.0  # softplus(x) is x from here on, in float64 too


def asymmetric_loss_plain(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`asymmetric_loss_reference`, argument by argument, on any device.

    :func:`mmasl.ops.analytic.run_analytic` says what is kept for the backward pass.

    Example:
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = asymmetric_loss_plain(pred, torch.tensor([0]), None, None, 1.0, Asymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(1.3863), tensor([[-0.5000,  0.5000]]))
    """
    given = Given(target, weight, class_weight, scale, asymmetry)
    return run_analytic(compute_plain, asymmetric_loss_reference, pred, given, reduce, check)


def compute_plain(pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool) -> Computed:
    """Loss and slope as :class:`Computed` describes them."""
    target, weight, class_weight, scale, asymmetry = given
    rows, columns = pred.shape
    if check:
        check_target(target, columns)
    if scale is None and reduce:
        scale = 1 / count_labelled(target, columns).clamp(min=1)
    if pred.is_cpu:
        asymmetry = asymmetry.read_scalars()
    dtype = at_least_float32(pred.dtype)
    if pred.numel() == 0:
        loss = torch.zeros(() if reduce else pred.shape, dtype=dtype, device=pred.device)
        return Computed(loss, torch.zeros_like(pred, dtype=dtype))
    step = max(1, BLOCK // columns) if pred.is_cpu else rows
    if rows <= step:
        loss, slope = _block(pred, target, weight, class_weight, asymmetry, reduce, with_slope)
    else:
        loss = torch.zeros((), dtype=torch.float64) if reduce else torch.empty(pred.shape, dtype=dtype)
        slope = torch.empty(pred.shape, dtype=dtype) if with_slope else None
        for start in range(0, rows, step):
            at = slice(start, start + step)
            of_rows = None if weight is None else weight[at]
            part, slope_part = _block(pred[at], target[at], of_rows, class_weight, asymmetry, reduce, with_slope)
            if reduce:
                loss += part
            else:
                loss[at] = part
            if with_slope:
                slope[at] = slope_part
    return Computed((loss * scale).to(dtype), slope, scale) if reduce else Computed(loss, slope)


def _block(pred, target, weight, class_weight, asymmetry, reduce, with_slope) -> tuple[Tensor, Tensor | None]:
    """The weighted loss, summed with ``reduce``, and the weighted slope of some rows."""
    z = pred.detach().to(at_least_float32(pred.dtype))
    entries = _dense_entries if target.dim() == 2 else _index_entries
    loss, slope = entries(z, target, asymmetry, with_slope)
    # Summed in float64 where that is cheap: 3e38 times a weight, or twice 3e38, may still have a mean that fits.
    wide = torch.float64 if reduce and z.is_cpu else z.dtype
    if weight is not None and weight.dim() == 1:
        weight = weight.unsqueeze(1)
    for factor in (weight, class_weight):
        if factor is not None:
            factor = factor.detach().to(z.dtype)
            loss = loss.to(wide).mul_(factor)
            if with_slope:
                slope.mul_(factor)
    return loss.sum(dtype=wide) if reduce else loss, slope


def _dense_entries(z: Tensor, target: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Loss and slope of each entry for dense labels, mixed by Eq. 2."""
    x = -z
    q = torch.sigmoid(x)
    positive = _positive(x, q, asymmetry, with_slope)
    negative = _negative(z, x, q, asymmetry, with_slope)
    label = target.detach().to(z.dtype)
    if not target.is_floating_point():
        label.clamp_(max=1)  # every integer above 0 is a positive where values are not checked
    for output, other in zip(negative, positive, strict=True):
        if output is not None:
            zero_at_most(output.lerp_(other, label), label, -0.5)
    return negative


def _index_entries(z: Tensor, target: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Loss and slope of each entry for class indices: all are negatives, then each foreground row's own is replaced."""
    x = -z
    q = torch.sigmoid(x)
    target = target.long().unsqueeze(1)
    column = target.clamp(0, z.shape[1] - 1)
    foreground = target == column
    positive = _positive(x.gather(1, column), q.gather(1, column), asymmetry, with_slope)
    negative = _negative(z, x, q, asymmetry, with_slope)
    labelled = (target != -1).to(z.dtype).expand_as(z)
    for output, other in zip(negative, positive, strict=True):
        if output is not None:
            output.scatter_(1, column, torch.where(foreground, other, output.gather(1, column)))
            zero_at_most(output, labelled, 0.5)
    return negative


def _positive(x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Loss and slope of the positive side; x is -z, and q is sigmoid(x). Both are left as they are."""
    gamma, weight = asymmetry.gamma_pos, asymmetry.alpha
    loss = softplus(x, threshold=LINEAR)
    if gamma == 0:
        slope = -q if with_slope else None
    else:
        focus = _power(q, gamma)
        slope = None
        if with_slope:
            # The inner product first: gamma * loss overflows at z = -3e38, where p is 0.
            slope = -q if asymmetry.detach_focus else torch.sigmoid(-x).mul_(loss).mul_(-gamma).sub_(q)
            slope.mul_(focus)
        loss.mul_(focus)
    return _times(loss, slope, weight)


def _negative(z: Tensor, x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Loss and slope of the negative side. The memory of x and q is used up."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    if isinstance(clip, Tensor):  # 0 for some classes, perhaps
        margin = clip > 0
        inside = asymmetry._replace(clip=torch.where(margin, clip, 0.5))
        sides = (
            _next_to_margin(z, q, inside, with_slope),
            _without_margin(z, q, asymmetry, with_slope),
        )
        loss, slope = (None if yes is None else torch.where(margin, yes, no) for yes, no in zip(*sides, strict=True))
    elif clip == 0:
        loss, slope = _without_margin(z, q, asymmetry, with_slope)
    elif isinstance(gamma, Tensor) or gamma < 1:
        loss, slope = _next_to_margin(z, q, asymmetry, with_slope)
    else:
        loss, slope = _beyond_margin(x, q, asymmetry, with_slope)
    return _times(loss, slope, None if asymmetry.alpha is None else 1 - asymmetry.alpha)


def _without_margin(z: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    gamma = asymmetry.gamma_neg
    loss, p = softplus(z, threshold=LINEAR), torch.sigmoid(z)
    if _is_zero(gamma):
        return loss, p if with_slope else None
    focus = _power(p, gamma)
    slope = None
    if with_slope:
        slope = p if asymmetry.detach_focus else (q * loss).mul_(gamma).add_(p)
        slope.mul_(focus)
    return loss.mul_(focus), slope


def _beyond_margin(x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Exponents from 1 on: loss and slope go to 0 at the margin, so clamping 1 - p_m at 1 is all that it takes."""
    gamma = asymmetry.gamma_neg
    u = torch.add(q, asymmetry.clip, out=x).clamp_(max=1)  # 1 - p_m, which keeps its digits near p = 1
    p_m = 1 - u
    inverse = u.reciprocal_()
    log_loss = inverse.log()
    below = _power(p_m, gamma - 1)
    slope = None
    if with_slope:
        slope = inverse.mul_(p_m)
        if not asymmetry.detach_focus:
            slope.add_(log_loss, alpha=gamma)  # type: ignore[arg-type]
        if below is not None:
            slope.mul_(below)
        slope = _times_pq(slope, q)
    loss = log_loss.mul_(p_m)
    return loss if below is None else loss.mul_(below), slope


def _next_to_margin(z: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Any exponent: those below 1 make visible that p - m loses its leading digits next to the margin."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    tiny = torch.finfo(z.dtype).tiny
    hi, lo = margin_logit_tensor(clip) if isinstance(clip, Tensor) else margin_logit(clip, z.dtype)
    distance = (z - hi).sub_(lo).relu_()
    p_m = torch.expm1(-distance).mul_(torch.sigmoid(z)).mul_(clip - 1).clamp_(min=tiny)
    u = (q + clip).clamp_(max=1)
    # u - 1 is exact, therefore the quotient is -log(1 - p_m) / p_m to the last digits (Kahan); tiny makes 0 / 0 one.
    ratio = u.log().sub_(tiny).div_((u - 1).sub_(tiny))
    inverse = u.reciprocal_()
    loss = ratio * p_m
    focus = None if _is_zero(gamma) else p_m.pow_(gamma)
    slope = None
    if with_slope:
        slope = inverse if focus is None or asymmetry.detach_focus else ratio.mul_(gamma).add_(inverse)
        if focus is not None:
            slope.mul_(focus)
        zero_at_most(_times_pq(slope, q), distance, 0)
    if focus is not None:
        loss.mul_(focus)
    return zero_at_most(loss, distance, 0), slope


def _power(base: Tensor, gamma: float | Tensor) -> Tensor | None:
    """``base ** gamma`` in new memory, or None for 1; torch has no fast fourth power."""
    if _is_zero(gamma):
        return None
    return base.square().square_() if not isinstance(gamma, Tensor) and gamma == 4 else base**gamma


def _is_zero(gamma: float | Tensor) -> bool:
    return not isinstance(gamma, Tensor) and gamma == 0


def _times(loss: Tensor, slope: Tensor | None, weight: float | None) -> tuple[Tensor, Tensor | None]:
    if weight is None:
        return loss, slope
    return loss.mul_(weight), None if slope is None else slope.mul_(weight)


def _times_pq(values: Tensor, q: Tensor) -> Tensor:
    """``values * q * (1 - q)`` in place; that is how torch computes sigmoid's gradient."""
    return torch.ops.aten.sigmoid_backward.grad_input(values, q, grad_input=values)
