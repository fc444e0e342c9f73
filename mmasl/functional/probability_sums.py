"""The probability gap of a batch (Eq. 9 and 10 of the paper) and the sums from which it is computed."""

import torch
from torch import Tensor

from mmasl.functional._validate import check_pred, flatten_target, flatten_weight, rows_and_classes
from mmasl.ops.target import hard_or_soft, is_ignored


@torch.no_grad()
def probability_sums(pred: Tensor, target: Tensor, weight: Tensor | None = None, activated: bool = False) -> Tensor:
    r"""Return the sums of p_t over the positives and over the negatives of each class, and the numbers of both.

    .. math::

        p_t = p \text{ of a positive}, \quad p_t = 1 - p \text{ of a negative}, \quad p = \sigma(z)

    This is Eq. 9 of the paper. Unlike means, sums can be added over batches, pyramid levels and processes. A soft label
    y counts as y of a positive and 1 - y of a negative. Class indices are not expanded, and the host reads no value.

    Args:
        pred: Logits z (N, ..., C), or (N,) of one class, of a floating dtype. Half precision is computed in float32.
        target: Dense labels or class indices as for :func:`mmasl.asymmetric_loss`; -1 is left out.
        weight: As for :func:`mmasl.asymmetric_loss`. Entries of weight 0 are left out, and all others count once.
        activated: ``pred`` contains probabilities instead of logits.

    Returns:
        Tensor: (4, C) in float64, the sum of p_t of positives, their number, the sum of p_t of negatives, their number.

    Raises:
        TypeError, ValueError: For the dtypes and shapes that :func:`mmasl.asymmetric_loss` refuses.

    Example:
        >>> pred = torch.tensor([[0.0, 0.0], [0.0, 100.0]])
        >>> probability_sums(pred, torch.tensor([[1, 0], [-1, 0]]))
        tensor([[0.5000, 0.0000],
                [1.0000, 0.0000],
                [0.0000, 0.5000],
                [0.0000, 2.0000]], dtype=torch.float64)
        >>> probability_gap(probability_sums(pred, torch.tensor([0, 2])).sum(1))  # row 1 is background
        tensor(0.1667, dtype=torch.float64)
    """
    check_pred(pred)
    num_classes = rows_and_classes(pred)[1]
    target, weight = flatten_target(pred, target), flatten_weight(pred, weight)
    z = pred.reshape(-1, num_classes)
    z = z if z.dtype == torch.float64 else z.float()
    probability = z.clone() if activated else torch.sigmoid(z)
    kept = ~is_ignored(target if target.dim() == 2 else target.unsqueeze(1))
    if weight is not None:
        kept = kept & ((weight if weight.dim() == 2 else weight.unsqueeze(1)) != 0)
    probability.masked_fill_(~kept, 0)
    summed = _dense if target.dim() == 2 else _indexed
    positive, positives = summed(probability, target, kept)
    labels = kept.sum(0, dtype=torch.float64).expand(num_classes)
    negatives = labels - positives
    negative = negatives - (probability.sum(0, dtype=torch.float64) - positive)
    return torch.stack([positive, positives, negative, negatives])


def probability_gap(sums: Tensor) -> Tensor:
    r"""Return :math:`\Delta p = p_t^+ - p_t^-` (Eq. 10) from :func:`probability_sums` or from its sum over classes.

    The result is NaN if there is no positive or no negative.

    Example:
        >>> probability_gap(torch.tensor([1.5, 2.0, 9.0, 10.0]))
        tensor(-0.1500)
    """
    positive, positives, negative, negatives = sums.unbind()
    return positive / positives - negative / negatives


def _dense(probability, target, kept):
    """Return the sums of y p and of y for each class."""
    label = hard_or_soft(target).to(probability.dtype, copy=True).masked_fill_(~kept, 0)
    return (label * probability).sum(0, dtype=torch.float64), label.sum(0, dtype=torch.float64)


def _indexed(probability, target, kept):
    num_classes = probability.shape[1]
    sums = probability.new_zeros(2, num_classes, dtype=torch.float64)
    if num_classes:
        # Most rows of a detector are background; one column for all of them would make a GPU add their zeros in turns.
        other = torch.arange(len(target), device=target.device) % num_classes
        column = torch.where((target >= 0) & (target < num_classes), target, other)
        own = column.unsqueeze(1)
        positive = (target == column) & kept.expand_as(probability).gather(1, own).squeeze(1)
        values = torch.stack([probability.gather(1, own).squeeze(1), torch.ones_like(probability[:, 0])])
        sums.index_add_(1, column, values.masked_fill_(~positive, 0).double())
    return sums
