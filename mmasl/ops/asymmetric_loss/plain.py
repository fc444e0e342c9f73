"""Loss and analytic gradient in one pass of torch operations, which need no compiler, on every device with float64.

Of tensors on a GPU the host reads no value. No shape depends on data, and class indices are never expanded to (N, C).
Masks are avoided, because torch does not vectorise comparisons and ``torch.where`` on the CPU.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmasl.compat import at_least_float32, overwrite
from mmasl.ops.analytic import Computed, Given, product, weigh_and_sum, with_analytic_gradient, zero_at_most
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference, is_zero
from mmasl.ops.target import check_target, count_labelled, may_ignore

BLOCK = 1 << 17  # the CPU computes so many logits at a time, and the temporaries stay in its caches
LINEAR = 40.0  # from here on, softplus(x) is x, in float64 too


def compute_plain(pred: Tensor, given: Given, reduce: bool, check: bool, with_slope: bool) -> Computed:
    """Compute loss and slope, as :class:`Computed` describes them."""
    target, weight, class_weight, scale, asymmetry = given
    rows, columns = pred.shape
    ignores = check_target(target, columns) if check else may_ignore(target)
    if scale is None and reduce:
        scale = 1 / (count_labelled(target, columns).clamp(min=1) if ignores else max(1, pred.numel()))
    if pred.is_cpu and asymmetry.has_tensors:
        asymmetry = asymmetry.read_scalars()
    dtype = at_least_float32(pred.dtype)
    if pred.numel() == 0:
        loss = torch.zeros(() if reduce else pred.shape, dtype=dtype, device=pred.device)
        return Computed(loss, torch.zeros_like(pred, dtype=dtype))
    step = max(1, BLOCK // columns) if pred.is_cpu else rows
    if rows <= step:
        loss, slope = _block(pred, target, ignores, weight, class_weight, asymmetry, reduce, with_slope)
    else:
        loss = pred.new_zeros((), dtype=torch.float64) if reduce else pred.new_empty(pred.shape, dtype=dtype)
        slope = pred.new_empty(pred.shape, dtype=dtype) if with_slope else None
        for start in range(0, rows, step):
            at = slice(start, start + step)
            of_rows = None if weight is None else weight[at]
            part, slope_part = _block(
                pred[at], target[at], ignores, of_rows, class_weight, asymmetry, reduce, with_slope
            )
            if reduce:
                loss += part
            else:
                loss[at] = part
            if with_slope:
                slope[at] = slope_part
    return Computed(product(loss, scale, dtype), slope, scale) if reduce else Computed(loss, slope)


asymmetric_loss_plain = with_analytic_gradient(asymmetric_loss_reference, compute_plain)


def _block(pred, target, ignores, weight, class_weight, asymmetry, reduce, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute the weighted loss of some rows, summed with ``reduce``, and their weighted slope."""
    z = pred.detach().to(at_least_float32(pred.dtype))
    entries = _dense_entries if target.dim() == 2 else _index_entries
    loss, slope = entries(z, target, ignores, asymmetry, with_slope)
    if weight is not None and weight.dim() == 1:
        weight = weight.unsqueeze(1)
    return weigh_and_sum(loss, slope, (weight, class_weight), reduce)


def _dense_entries(z, target, ignores, asymmetry, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute loss and slope of each entry for dense labels, mixed by Eq. 2."""
    x = -z
    q = torch.sigmoid(x)
    positive = _positive(x, q, asymmetry, with_slope)
    negative = _negative(z, x, q, asymmetry, with_slope)
    label = target.detach().to(z.dtype)
    if not target.is_floating_point():
        label.clamp_(max=1)  # if values are not checked, every integer above 0 is a positive
    for output, other in zip(negative, positive, strict=True):
        if output is not None:
            output.lerp_(other, label)
            if ignores:
                zero_at_most(output, label, -0.5)
    return negative


def _index_entries(z, target, ignores, asymmetry, with_slope) -> tuple[Tensor, Tensor | None]:
    """Compute each entry for class indices: first all as negatives, and then each foreground row's own entry."""
    x = -z
    q = torch.sigmoid(x)
    target = target.long().unsqueeze(1)
    column = target.clamp(0, z.shape[1] - 1)
    foreground = target == column
    positive = _positive(x.gather(1, column), q.gather(1, column), asymmetry, with_slope)
    negative = _negative(z, x, q, asymmetry, with_slope)
    labelled = (target != -1).to(z.dtype).expand_as(z) if ignores else None
    for output, other in zip(negative, positive, strict=True):
        if output is not None:
            output.scatter_(1, column, torch.where(foreground, other, output.gather(1, column)))
            if ignores:
                zero_at_most(output, labelled, 0.5)
    return negative


def _positive(x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Compute the positive side from x = -z and q = sigmoid(x), which are not changed."""
    gamma, weight = asymmetry.gamma_pos, asymmetry.alpha
    loss = softplus(x, threshold=LINEAR)
    if gamma == 0:
        slope = -q if with_slope else None
    else:
        focus = _power(q, gamma)
        slope = None
        if with_slope:
            # The inner product comes first, because gamma * loss overflows at z = -3e38, where p is 0.
            slope = -q if asymmetry.detach_focus else torch.sigmoid(-x).mul_(loss).mul_(-gamma).sub_(q)
            slope.mul_(focus)
        loss.mul_(focus)
    return _times(loss, slope, weight)


def _negative(z: Tensor, x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Compute the negative side. It overwrites x and q."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    if isinstance(clip, Tensor):  # it may be 0 for some classes
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
    if is_zero(gamma):
        return loss, p if with_slope else None
    focus = _power(p, gamma)
    slope = None
    if with_slope:
        slope = p if asymmetry.detach_focus else (q * loss).mul_(gamma).add_(p)
        slope.mul_(focus)
    return loss.mul_(focus), slope


def _beyond_margin(x: Tensor, q: Tensor, asymmetry: Asymmetry, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """For exponents of 1 and more, loss and slope go to 0 at the margin, and a clamp of 1 - p_m at 1 is enough."""
    gamma = asymmetry.gamma_neg
    u = torch.add(q, asymmetry.clip, out=x).clamp_(max=1)  # 1 - p_m, which keeps its digits near p = 1
    p_m = torch.rsub(u, 1)
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
    """For any exponent. Exponents below 1 make visible that p - m loses its leading digits next to the margin."""
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    tiny = torch.finfo(z.dtype).tiny
    hi, lo = margin_logit_tensor(clip) if isinstance(clip, Tensor) else margin_logit(clip, z.dtype)
    distance = (z - hi).sub_(lo).relu_()
    p_m = torch.expm1(-distance).mul_(torch.sigmoid(z)).mul_(clip - 1).clamp_(min=tiny)
    u = (q + clip).clamp_(max=1)
    # u - 1 is exact, so the quotient is -log(1 - p_m) / p_m to the last digits (Kahan). tiny turns 0 / 0 into 1.
    ratio = u.log().sub_(tiny).div_((u - 1).sub_(tiny))
    inverse = u.reciprocal_()
    loss = ratio * p_m
    focus = None if is_zero(gamma) else p_m.pow_(gamma)
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
    """Return ``base ** gamma`` in new memory, or None if gamma is 0. torch has no fast fourth power."""
    if is_zero(gamma):
        return None
    return base.square().square_() if not isinstance(gamma, Tensor) and gamma == 4 else base**gamma


def _times(loss: Tensor, slope: Tensor | None, weight: float | None) -> tuple[Tensor, Tensor | None]:
    if weight is None:
        return loss, slope
    return loss.mul_(weight), None if slope is None else slope.mul_(weight)


def _times_pq(values: Tensor, q: Tensor) -> Tensor:
    """Return ``values * q * (1 - q)``, computed in place, as torch computes the gradient of a sigmoid."""
    return overwrite(values, torch.ops.aten.sigmoid_backward, q)
