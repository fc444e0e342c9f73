"""The mean probabilities of positives and negatives that a batch of logits gives (section 2.6 of the paper)."""

import torch
from torch import Tensor

from mmasl.functional._validate import flatten_target, flatten_weight


@torch.no_grad()
def probability_sums(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Sum and number of the probabilities of positives and of negatives; sums of several batches add up.

    What has a weight of 0 is left out, other weights have no effect. A soft label t counts as t of a positive and
    1 - t of a negative. No random number is drawn, no argument changed and the device not waited for.

    Args:
        pred: Logits (N, ..., C) of a floating dtype.
        target: Dense (N, ..., C) in [0, 1], or class indices (N, ...) from 0 to C, C being background; what is below 0
            is ignored.
        weight: (N,), (N, ...), (N, ..., C) or (N·...·C,).

    Returns:
        (2, 2) float64: sum and number of positives, then of negatives.

    Raises:
        TypeError, ValueError: For shapes and dtypes that do not fit, as :func:`mmasl.asymmetric_loss`.

    Example:
        >>> probability_sums(torch.zeros(2, 3), torch.tensor([1, 3]))  # class 1, and background
        tensor([[0.5000, 1.0000],
                [2.5000, 5.0000]], dtype=torch.float64)
    """
    target, weight = flatten_target(pred, target), flatten_weight(pred, weight)
    known = target >= 0 if target.dim() == 2 else (target >= 0)[:, None]
    if weight is not None:
        known = known & ((weight if weight.dim() == 2 else weight[:, None]) != 0)
    p = torch.where(known, pred.detach().reshape(-1, pred.shape[-1]).float().sigmoid(), 0)
    known = known.expand_as(p)
    if target.dim() == 2:
        positive = torch.where(known, target.to(p.dtype), 0)
        positives = (p * positive).sum(), positive.sum()
    else:
        column = target.clamp(0, p.shape[1] - 1)[:, None]
        positive = known.gather(1, column) & (target < p.shape[1])[:, None]
        positives = (p.gather(1, column) * positive).sum(), positive.sum()
    everything = p.sum(), known.sum()
    positives, everything = (torch.stack([x.double() for x in pair]) for pair in (positives, everything))
    return torch.stack([positives, everything - positives])


def probability_gap(sums: Tensor) -> dict[str, float]:
    r"""Mean confidence in positives and in negatives, and their gap, from :func:`probability_sums`.

    .. math:: p_t^+ = \overline{p}|_{y=1}, \quad p_t^- = 1 - \overline{p}|_{y=0} \quad \text{(Eq. 9)}, \qquad
        \Delta p = p_t^+ - p_t^- \quad \text{(Eq. 10)}

    Returns:
        ``pt_pos``, ``pt_neg`` and ``delta_p``, as :class:`mmasl.evaluation.MultiLabelMetric` names them; nothing where
        there is no positive or no negative.

    Example:
        >>> probability_gap(torch.tensor([[1.5, 2.0], [0.5, 4.0]]))
        {'pt_pos': 0.75, 'pt_neg': 0.875, 'delta_p': -0.125}
    """
    (positive, positives), (negative, negatives) = sums.tolist()
    if positives <= 0 or negatives <= 0:
        return {}
    pt_pos, pt_neg = positive / positives, 1 - negative / negatives
    return dict(pt_pos=pt_pos, pt_neg=pt_neg, delta_p=pt_pos - pt_neg)
