"""Loss and analytic gradient block by block in plain torch operations: the CPU backend where no compiler was at hand.

Every column is first a negative; the few entries that are not (positives, soft labels, ignored ones) are then written
over. So class indices need no one-hot tensor, and hard labels pay for one side of the equation only.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.target import check_target, count_labelled

BLOCK = 1 << 15  # logits in a block: its temporaries stay in the second-level cache


def fill_blocks(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | None,
    asymmetry: Asymmetry,
    check: bool,
    loss: Tensor | None,
    grad: Tensor | None,
    upstream: Tensor | None = None,
) -> None:
    """Fill ``loss`` and ``grad`` in place.

    Args:
        pred, target, weight, class_weight, scale, asymmetry, check: As :func:`asymmetric_loss_reference` takes them;
            scale None divides by the number of labels that are not ignored.
        loss: 0-d for the scaled sum, or (N, C); float32, or float64 for float64 ``pred``. None leaves it out.
        grad: (N, C) contiguous of the dtype of ``pred``, or None.
        upstream: The gradient that reaches the loss, of its shape; multiplied to ``grad``. None is 1.
    """
    rows, columns = pred.shape
    if check:
        check_target(target, columns)
    reduce = (loss if loss is not None else upstream).dim() == 0
    if scale is None:
        scale = 1 / max(count_labelled(target, columns).item(), 1)
    work_dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    step = max(1, BLOCK // max(columns, 1))
    total = 0.0
    for start in range(0, rows if columns else 0, step):
        block = slice(start, start + step)
        z = pred.detach()[block].to(work_dtype)
        value, slope = _block(z, target[block], asymmetry, want_slope=grad is not None)
        factor = _block_weight(weight, class_weight, block, work_dtype)
        if grad is not None:
            if factor is not None:
                slope *= factor
            if reduce and scale != 1:
                slope *= scale
            if upstream is not None:
                slope *= upstream if reduce else upstream[block]
            grad[block] = slope
        if loss is None:
            continue
        if reduce:  # in float64, the weight too: 3e38 times a weight may still have a mean that fits
            total += (value.sum(dtype=torch.float64) if factor is None else (value.double() * factor).sum()).item()
        else:
            loss[block] = value if factor is None else value * factor
    if loss is not None and reduce:
        loss.copy_(torch.tensor(total * scale, dtype=torch.float64))


def _block_weight(weight: Tensor | None, class_weight: Tensor | None, block: slice, dtype) -> Tensor | None:
    if weight is None:
        return class_weight
    weight = weight.detach()[block].to(dtype)
    weight = weight.unsqueeze(1) if weight.dim() == 1 else weight
    return weight if class_weight is None else weight * class_weight


def _block(z: Tensor, target: Tensor, asymmetry: Asymmetry, want_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Unweighted loss and gradient of a block (R, C); the gradient is None unless wanted."""
    value, slope = _negative(z, asymmetry, want_slope)
    outputs = (value, slope) if want_slope else (value,)
    if target.dim() == 1:
        foreground = ((target >= 0) & (target < z.shape[1])).nonzero().squeeze(1)
        place = (foreground, target[foreground].long())
        for output, positive in zip(outputs, _positive(z[place], asymmetry, want_slope), strict=False):
            output[place] = positive
        ignored = ((target == -1).nonzero().squeeze(1),)
    else:
        place = target.nonzero(as_tuple=True)
        soft = target[place].to(z.dtype)
        for output, positive in zip(outputs, _positive(z[place], asymmetry, want_slope), strict=False):
            output[place] = torch.lerp(output[place], positive, soft) if target.is_floating_point() else positive
        ignored = tuple(axis[soft == -1] for axis in place)
    for output in outputs:
        output[ignored] = 0
    return value, slope


def _positive(z: Tensor, asymmetry: Asymmetry, want_slope: bool) -> tuple[Tensor, Tensor | None]:
    gamma = asymmetry.gamma_pos
    value, q = -logsigmoid(z), torch.sigmoid(-z)
    slope = None
    if want_slope:
        # The inner product first: gamma * value overflows at z = -3e38, where p is 0.
        slope = _slope(q, gamma, torch.sigmoid(z) * value, asymmetry.detach_focus).neg_()
    return _apply_focus(value, slope, q, gamma, asymmetry.alpha)


def _negative(z: Tensor, asymmetry: Asymmetry, want_slope: bool) -> tuple[Tensor, Tensor | None]:
    clip = asymmetry.clip
    if not isinstance(clip, Tensor):
        return (_negative_without_margin if clip == 0 else _negative_beyond_margin)(z, asymmetry, want_slope)
    margin = clip > 0
    sides = (
        _negative_beyond_margin(z, asymmetry._replace(clip=torch.where(margin, clip, 0.5)), want_slope),
        _negative_without_margin(z, asymmetry, want_slope),
    )
    value, slope = (None if yes is None else torch.where(margin, yes, no) for yes, no in zip(*sides, strict=True))
    return value, slope


def _negative_without_margin(z: Tensor, asymmetry: Asymmetry, want_slope: bool) -> tuple[Tensor, Tensor | None]:
    gamma = asymmetry.gamma_neg
    value, p = -logsigmoid(-z), torch.sigmoid(z)
    slope = _slope(p, gamma, torch.sigmoid(-z) * value, asymmetry.detach_focus) if want_slope else None
    return _apply_focus(value, slope, p, gamma, _negative_weight(asymmetry))


def _negative_beyond_margin(z: Tensor, asymmetry: Asymmetry, want_slope: bool) -> tuple[Tensor, Tensor | None]:
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    p, q = torch.sigmoid(z), torch.sigmoid(-z)
    hi, lo = margin_logit_tensor(clip) if isinstance(clip, Tensor) else margin_logit(clip, z.dtype)
    distance = (z - hi) - lo
    inactive = distance <= 0
    # p - m loses its leading digits next to the margin, which the gradient feels for gamma < 1 only.
    exact = isinstance(gamma, Tensor) or 0 < gamma < 1
    p_m = -(1 - clip) * p * torch.expm1(-distance) if exact else p - clip
    p_m = p_m.clamp_(min=torch.finfo(z.dtype).tiny).masked_fill_(inactive, 0.5)
    u = q + clip  # 1 - p_m, without cancellation near p = 1
    value = torch.where(p_m < 0.5, -torch.log1p(-p_m), -torch.log(u))
    slope = None
    if want_slope:
        slope = _slope(1 / u, gamma, value / p_m, asymmetry.detach_focus).mul_(p).mul_(q).masked_fill_(inactive, 0)
    return _apply_focus(value.masked_fill_(inactive, 0), slope, p_m, gamma, _negative_weight(asymmetry))


def _negative_weight(asymmetry: Asymmetry) -> float | None:
    return None if asymmetry.alpha is None else 1 - asymmetry.alpha


def _slope(log_slope: Tensor, gamma: float | Tensor, focus_slope: Tensor, detach: bool) -> Tensor:
    """Derivative of ``focus * log_loss`` over ``focus``; always a new tensor."""
    return log_slope.clone() if detach or _is_number(gamma, 0) else log_slope + gamma * focus_slope


def _apply_focus(value, slope, base, gamma, alpha):
    """Multiply loss and gradient by ``base ** gamma`` and ``alpha``, in place."""
    for output in (value, slope):
        if output is None:
            continue
        if not _is_number(gamma, 0):
            output *= _power(base, gamma)
        if alpha is not None:
            output *= alpha
    return value, slope


def _power(base: Tensor, gamma: float | Tensor) -> Tensor:
    """``base ** gamma``; small whole numbers by multiplication, which ``pow`` does up to 3 only."""
    return (base * base).square_() if _is_number(gamma, 4) else base if _is_number(gamma, 1) else base**gamma


def _is_number(gamma: float | Tensor, number: int) -> bool:
    return not isinstance(gamma, Tensor) and gamma == number
