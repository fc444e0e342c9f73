"""The single-label loss in plain torch operations, with which every other backend is compared.

It is differentiable any number of times.
"""

import torch
from torch import Tensor

from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry, smoothed
from mmasl.ops.softmax_asymmetric_loss.target import check_single_label, ignored_rows


def underflow(dtype: torch.dtype) -> float:
    """Return a bound: for larger x, exp(-x) is not a normal number."""
    return 745.0 if dtype == torch.float64 else 100.0


def lowest_log_probability(dtype: torch.dtype) -> float:
    """Return the lower bound of log p, because the difference of two finite logits may exceed the largest number.

    The bound is 16 ulps from that number. So a sum of such losses with weights that sum to 1 is never rounded up to
    infinity.
    """
    info = torch.finfo(dtype)
    return -info.max * (1 - 16 * info.eps)


def softmax_asymmetric_loss_reference(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: SoftmaxAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """Compute the single-label asymmetric loss of every row times its weight. The README.md has the equation.

    Args:
        pred: Logits (N, C) of any floating dtype. Half precision is computed in float32.
        target: Class indices (N,). Or dense labels (N, C), whose rows sum to 1 or are all -1 (ignored).
        weight: A weight per row (N,), or None.
        class_weight: (C,), which multiplies the term of each class, or None.
        scale: A number or a 0-d tensor that multiplies the reduced loss. None divides by the number of rows that are
            not ignored. It has no effect without ``reduce``.
        asymmetry: The constants.
        reduce: Return the sum over all rows, in float64 on the CPU, instead of a loss per row.
        check: Call :func:`check_single_label`, which raises for values out of range.

    Returns:
        Float32 (float64 for float64 ``pred``): 0-d with ``reduce``, and otherwise (N,).

    Example:
        >>> pred, target = torch.zeros(1, 2), torch.tensor([0])
        >>> softmax_asymmetric_loss_reference(pred, target, None, None, 1.0, SoftmaxAsymmetry(0, 0), reduce=False)
        tensor([0.6931])
    """
    if check:
        check_single_label(target, pred.shape[1], asymmetry.ignore_index)
    ignored = ignored_rows(target, asymmetry.ignore_index)
    if scale is None:
        scale = 1 / (~ignored).sum(dtype=torch.float64).clamp(min=1)
    z = pred if pred.dtype == torch.float64 else pred.float()
    z = torch.where(ignored.unsqueeze(1), torch.zeros_like(z), z)
    if pred.numel() == 0:
        terms = z
    elif target.dim() == 1:
        terms, class_weight = _index_terms(z, target, asymmetry, class_weight)
    else:
        terms = _dense_terms(z, target, asymmetry)
    terms = torch.where(ignored.unsqueeze(1), torch.zeros_like(terms), terms)
    # The CPU sums in float64, where that is cheap: 3e38 times a weight, or twice 3e38, may have a mean that fits.
    wide = terms.double() if reduce and terms.device.type == 'cpu' else terms
    if class_weight is not None:
        wide = wide * class_weight
    wide = wide.sum(1)
    if weight is not None:
        wide = wide * weight
    return ((wide.sum() * scale) if reduce else wide).to(z.dtype)


def _index_terms(z: Tensor, target: Tensor, asymmetry: SoftmaxAsymmetry, class_weight: Tensor | None):
    """Return the terms of each row and their class weights, one column of them without smoothing, without a one-hot."""
    num_classes = z.shape[1]
    own, other = smoothed(asymmetry.label_smoothing, num_classes)
    log_p, peak = _log_softmax(z)
    label = target.long().clamp(0, num_classes - 1).unsqueeze(1)
    labelled = own * _positive(log_p.gather(1, label), label == peak, log_p, peak, asymmetry)
    if other == 0:
        return labelled, None if class_weight is None else class_weight[label]
    return (other * _negative(log_p, asymmetry)).scatter(1, label, labelled), class_weight


def _dense_terms(z: Tensor, target: Tensor, asymmetry: SoftmaxAsymmetry) -> Tensor:
    num_classes = z.shape[1]
    own, other = smoothed(asymmetry.label_smoothing, num_classes)
    log_p, peak = _log_softmax(z)
    soft = target.to(z.dtype)
    at_peak = torch.arange(num_classes, device=z.device) == peak
    terms = own * soft * _positive(log_p, at_peak, log_p, peak, asymmetry)
    return terms if other == 0 else terms + other * (1 - soft) * _negative(log_p, asymmetry)


def _log_softmax(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p, and the class of the largest logit (N, 1), whose 1 - p keeps its digits."""
    z = z.clamp(min=-torch.finfo(z.dtype).max)  # a class masked with -inf
    peak = z.argmax(1, keepdim=True)
    half = z / 2 - z.gather(1, peak) / 2  # the whole difference may overflow
    half = half + (half.clamp(min=lowest_log_probability(z.dtype) / 2) - half).detach()  # a bound, not a zero slope
    distance = (2 * half).scatter(1, peak, 0.0)  # this is 0 already, but its slope was 1 - 1 and is now 0
    rest = distance.exp().scatter(1, peak, 0.0).sum(1, keepdim=True)
    return distance - rest.log1p(), peak


def _positive(entry: Tensor, at_peak: Tensor, log_p: Tensor, peak: Tensor, asymmetry: SoftmaxAsymmetry) -> Tensor:
    """Compute (1 - p)^gamma_pos * (-log p) for the entries of ``log_p`` in ``entry``.

    The power is computed through log(1 - p), because its derivative at 0 is infinite for gamma < 1. For the largest p,
    log(1 - p) is the logarithm of the sum of the others. Numbers are bounded only inside the focusing weight, where
    1 - p and -log p have reached 0, or 1 - p has reached 1.
    """
    if asymmetry.gamma_pos == 0:
        return -entry
    bound = underflow(entry.dtype)
    others = log_p.clamp(min=-bound).scatter(1, peak, -bound).logsumexp(1, keepdim=True)
    small = torch.where(at_peak, torch.full_like(entry, -1.0), entry.clamp(min=-bound))
    log_q = torch.where(at_peak, others, torch.log1p(-small.exp()))
    focus = torch.exp(asymmetry.gamma_pos * log_q)
    return -(focus.detach() if asymmetry.detach_focus else focus) * entry


def _negative(log_p: Tensor, asymmetry: SoftmaxAsymmetry) -> Tensor:
    """Compute p^gamma_neg * (-log p), which is 0 where the power underflows."""
    if asymmetry.gamma_neg == 0:
        return -log_p
    log_p = torch.where(asymmetry.gamma_neg * log_p > -underflow(log_p.dtype), log_p, torch.zeros_like(log_p))
    focus = torch.exp(asymmetry.gamma_neg * log_p)
    return -(focus.detach() if asymmetry.detach_focus else focus) * log_p
