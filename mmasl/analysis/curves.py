"""Loss and gradient of one positive and one negative against their probability (Fig. 2, Fig. 3; Eq. 6 to 8).

All functions take p in [0, 1] as a number, array or tensor, and return a float64 tensor of its shape. Losses have the
sign that is minimised, so they are ``-L+`` and ``-L-`` of the paper. Gradients are with respect to the logit z.
"""

import torch
from torch import Tensor

from mmasl.analysis.p_star import p_star
from mmasl.functional.asymmetric_loss import DEFAULTS, make_asymmetry


def positive_loss(p, gamma_pos: float = 0.0) -> Tensor:
    r"""Return the loss of a positive, which is infinite at p = 0.

    .. math:: -L_+ = -(1 - p)^{\gamma_+} \log p \quad \text{(Eq. 7)}

    Raises:
        ValueError: A probability outside [0, 1], or an exponent below 0.

    Example:
        >>> positive_loss([0.5, 1.0], gamma_pos=1.0)
        tensor([0.3466, 0.0000], dtype=torch.float64)
    """
    p, gamma = _probabilities(p), make_asymmetry(gamma_pos=gamma_pos).gamma_pos
    return (1 - p) ** gamma * torch.log(p).abs()


def positive_gradient(p, gamma_pos: float = 0.0) -> Tensor:
    r"""Return the derivative of :func:`positive_loss` with respect to the logit, which is never positive.

    .. math:: -\frac{dL_+}{dz} = -(1 - p)^{\gamma_+} \left(1 - p - \gamma_+ p \log p\right)

    Raises:
        ValueError: Under the conditions of :func:`positive_loss`.

    Example:
        >>> positive_gradient([0.0, 0.5], gamma_pos=0.0)
        tensor([-1.0000, -0.5000], dtype=torch.float64)
    """
    p, gamma = _probabilities(p), make_asymmetry(gamma_pos=gamma_pos).gamma_pos
    return -((1 - p) ** gamma) * (1 - p - gamma * torch.xlogy(p, p))


def negative_loss(p, gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip) -> Tensor:
    r"""Return the loss of a negative, which is 0 up to the margin and, without a margin, infinite at p = 1.

    .. math:: -L_- = -p_m^{\gamma_-} \log(1 - p_m), \quad p_m = \max(p - m, 0) \quad \text{(Eq. 6)}

    Raises:
        ValueError: A probability outside [0, 1], an exponent below 0, or a margin outside [0, 1).

    Example:
        >>> negative_loss([0.1, 0.5], gamma_neg=0.0, clip=0.2)  # cross-entropy with probability shifting
        tensor([0.0000, 0.3567], dtype=torch.float64)
    """
    p = _probabilities(p)
    asymmetry = make_asymmetry(gamma_neg=gamma_neg, clip=clip)
    p_m = (p - asymmetry.clip).clamp(min=0)
    return p_m**asymmetry.gamma_neg * _log_loss(p, p_m, asymmetry.clip)


def negative_gradient(p, gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip) -> Tensor:
    r"""Return the derivative of :func:`negative_loss` with respect to the logit: 0 up to the margin, then positive.

    .. math:: -\frac{dL_-}{dz} = p_m^{\gamma_-} \left[\frac{1}{1 - p_m} -
        \frac{\gamma_- \log(1 - p_m)}{p_m}\right] p (1 - p) \quad \text{(Eq. 8, printed there for } -L_-)

    Raises:
        ValueError: Under the conditions of :func:`negative_loss`.

    Example:
        >>> negative_gradient([0.1, 0.5, 1.0], gamma_neg=0.0, clip=0.0)  # cross-entropy
        tensor([0.1000, 0.5000, 1.0000], dtype=torch.float64)
        >>> negative_gradient([0.1, 0.5, 1.0], gamma_neg=0.0, clip=0.2)
        tensor([0.0000, 0.3571, 0.0000], dtype=torch.float64)
    """
    p = _probabilities(p)
    asymmetry = make_asymmetry(gamma_neg=gamma_neg, clip=clip)
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    q = 1 - p
    if clip == 0:  # its limit at p = 1 too, where 1 - p_m is 0
        return p**gamma * (p - gamma * torch.xlogy(q, q))
    active = p > clip
    p_m = torch.where(active, p - clip, 0.5)
    slope = p_m**gamma * (1 / (q + clip) + gamma * _log_loss(p, p_m, clip) / p_m) * p * q
    return torch.where(active, slope, 0.0)


def largest_gradient(gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip) -> float:
    """Return the least upper bound of :func:`negative_gradient` over p.

    It is the gradient at p* if p* exists. For cross-entropy it is 1, at p = 1. For cross-entropy shifted by more than
    0.618 it is the limit m(1 - m) just above the margin, which no p attains.

    Example:
        >>> round(largest_gradient(gamma_neg=2.0, clip=0.0), 3)
        1.129
    """
    maximum = p_star(gamma_neg, clip)
    if maximum is not None:
        return negative_gradient(maximum, gamma_neg, clip).item()
    return clip * (1 - clip) if clip else 1.0


def normalised_gradient(p, gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip) -> Tensor:
    """Return :func:`negative_gradient` divided by its largest value, so that each curve of Fig. 3 has a maximum of 1.

    The paper does not say how it normalises; this is the project's choice.

    Example:
        >>> normalised_gradient([0.5, p_star(0.0, 0.2), 1.0], gamma_neg=0.0, clip=0.2)
        tensor([0.8499, 1.0000, 0.0000], dtype=torch.float64)
    """
    return negative_gradient(p, gamma_neg, clip) / largest_gradient(gamma_neg, clip)


def _probabilities(p) -> Tensor:
    p = torch.as_tensor(p, dtype=torch.float64).detach()
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise ValueError(f'p: expected probabilities in [0, 1], got {p[outside].flatten()[0].item():g}')
    return p


def _log_loss(p: Tensor, p_m: Tensor, clip: float) -> Tensor:
    """Return -log(1 - p_m) by the form in which no digits cancel."""
    return torch.where(p_m < 0.5, -torch.log1p(-p_m), -torch.log(1 - p + clip))
