"""The single-label loss in plain torch operations, with which every other backend is compared.

It is differentiable any number of times. The constants of the loss and the checks of its targets are here too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmasl.compat import aminmax
from mmasl.ops.target import OTHER_MARKS, is_ignored

ROW_SUM_ERROR = 1e-2  # a row of 10,000 scores that are rounded to bfloat16 passes, and a second label does not


class SoftmaxAsymmetry(NamedTuple):
    """The constants of the single-label loss, already validated.

    Attributes:
        gamma_pos: Focusing exponent of the labelled class, real and >= 0.
        gamma_neg: Focusing exponent of the other classes, real and >= 0.
        label_smoothing: The share of a label that is spread over all classes, in [0, 1].
        ignore_index: The class index of rows that have no loss and no gradient.
        detach_focus: Leave the focusing weights out of the gradient.
    """

    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    label_smoothing: float = 0.1
    ignore_index: int = -1
    detach_focus: bool = False


def smoothed(label_smoothing: float, num_classes: int) -> tuple[float, float]:
    """Return what a smoothed label gives to the labelled class, and what it gives to each of the others.

    Example:
        >>> smoothed(0.5, num_classes=4)
        (0.625, 0.125)
    """
    other = label_smoothing / num_classes
    return 1 - label_smoothing + other, other


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
        Tensor: 0-d with ``reduce``, and otherwise (N,), in float32 (float64 for float64 ``pred``).

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


def ignored_rows(target: Tensor, ignore_index: int) -> Tensor:
    """Return which rows (N,) are ignored: those with ``ignore_index``, or with a -1 among their dense labels.

    Example:
        >>> ignored_rows(torch.tensor([0, -1]), ignore_index=-1)
        tensor([False,  True])
        >>> ignored_rows(torch.tensor([[0.5, 0.5], [-1.0, -1.0]]), ignore_index=-1)
        tensor([False,  True])
    """
    if target.dim() == 1:
        return target == ignore_index
    return is_ignored(target).any(1)


def check_single_label(target: Tensor, num_classes: int, ignore_index: int) -> bool:
    """Raise ValueError if a row does not have one label. This reads the values, and so it waits for a GPU.

    Args:
        target: Dense labels (N, C) or class indices (N,), as :func:`softmax_asymmetric_loss_reference` takes them.
        num_classes: C.
        ignore_index: The class index of ignored rows.

    Returns:
        Whether there may be an ignored row.

    Raises:
        ValueError: For a class index outside [0, C) that is not ``ignore_index``, a dense label outside [0, 1], a -1
            in a row that is not all -1, NaN, or a row that does not sum to 1. The text gives the first such row.

    Example:
        >>> check_single_label(torch.tensor([0, 80]), num_classes=80, ignore_index=-1)
        Traceback (most recent call last):
        ...
        ValueError: target: class indices must lie in [0, 79] or be ignore_index=-1 (ignored), got 80 at row 1
    """
    if target.numel() == 0:
        return False
    if target.dim() == 1:
        low, high = (value.item() for value in aminmax(target))
        if low >= 0 and high < num_classes:
            return low <= ignore_index <= high
        label = target.long()
        wrong = ((label < 0) | (label >= num_classes)) & (label != ignore_index)
        allowed = f'class indices must lie in [0, {num_classes - 1}] or be ignore_index={ignore_index} (ignored)'
        _report(wrong, allowed, label)
        return True
    label = target.double()
    ignored = (label == -1).all(1)
    wrong = ~((label >= 0) & (label <= 1)).all(1) & ~ignored  # NaN is wrong too
    worst = torch.where((label >= 0) & (label <= 1), torch.zeros_like(label), 1.0).argmax(1)
    allowed = 'dense labels must lie in [0, 1], or fill their row with -1 (ignored)'
    _report(wrong, allowed, label.gather(1, worst.unsqueeze(1)).squeeze(1))
    total = label.sum(1)
    allowed = 'a row, along the last axis, must sum to 1 (asymmetric_loss is the one for several labels a row)'
    _report(((total - 1).abs() > ROW_SUM_ERROR) & ~ignored, allowed, total)
    return bool(ignored.any())


def _report(wrong: Tensor, allowed: str, values: Tensor) -> None:
    if wrong.any():
        row = int(wrong.nonzero()[0])
        value = values[row].item()
        marked = isinstance(value, int) and value in OTHER_MARKS  # dense labels have no ignore_index
        hint = f'; ignore_index={value} ignores such rows' if marked else ''
        raise ValueError(f'target: {allowed}, got {value:g} at row {row}{hint}')
