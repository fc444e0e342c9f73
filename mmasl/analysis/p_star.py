"""p*, the probability beyond which a negative's gradient falls (section 2.5 of the paper)."""

import math

from mmasl.functional.asymmetric_loss import DEFAULTS, make_asymmetry

HIGHEST_LOGIT = 700.0  # exp of it is still a float


def p_star(gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip) -> float | None:
    r"""Return the p in (m, 1) at which the gradient of a negative has its maximum.

    .. math:: \frac{d}{dp} \left( \frac{dL_-}{dz} \right) = 0

    The zero of the analytic derivative is found by bisection on the logit, to the last digits of a float. For
    gamma_neg = 0 there is a closed form, :func:`p_star_without_focusing`; for gamma_neg > 0 the equation mixes p and
    log(1 - p).

    Returns:
        p*, or None if the derivative has no zero. It has none for plain cross-entropy, whose gradient rises up to
        p = 1, and for cross-entropy shifted by m >= 0.618, whose gradient falls from the margin on. With focusing p*
        always exists; without a margin 1 - p* is about exp(-2 - 1/gamma_neg), which rounds to 0 for gamma_neg < 0.03.

    Raises:
        ValueError: For an exponent below 0 or a margin outside [0, 1).

    Example:
        >>> round(p_star(gamma_neg=2.0, clip=0.0), 3)  # the gradient is 1.129 there, and 1 at p=1
        0.942
        >>> round(p_star(gamma_neg=4.0, clip=0.05), 3)
        0.9
        >>> print(p_star(gamma_neg=0.0, clip=0.0))
        None
    """
    asymmetry = make_asymmetry(gamma_neg=gamma_neg, clip=clip)
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    low = math.log(clip) - math.log1p(-clip) if clip else -HIGHEST_LOGIT
    high = HIGHEST_LOGIT
    if _rise(low, low, gamma, clip) <= 0:
        return None
    if _rise(high, low, gamma, clip) >= 0:
        return 1.0 if gamma else None
    start = low
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return 1 / (1 + math.exp(-middle))
        low, high = (middle, high) if _rise(middle, start, gamma, clip) > 0 else (low, middle)


def p_star_without_focusing(clip: float) -> float | None:
    r"""Return p* of cross-entropy with probability shifting, the zero of :math:`q^2 + 2qm - m` with q = 1 - p.

    .. math:: p^* = 1 + m - \sqrt{m^2 + m} \quad \text{for } 0 < m < (\sqrt{5} - 1) / 2

    Returns:
        p*, or None for another margin.

    Example:
        >>> round(p_star_without_focusing(0.2), 6), round(p_star(gamma_neg=0.0, clip=0.2), 6)
        (0.710102, 0.710102)
    """
    clip = make_asymmetry(clip=clip).clip
    value = 1 + clip - math.sqrt(clip * clip + clip)
    return value if clip < value < 1 else None


def _rise(z: float, margin: float, gamma: float, clip: float) -> float:
    """Return a number with the sign of d/dp dL/dz at p = sigmoid(z), finite down to the margin's logit ``margin``.

    It is the derivative divided by p_m^gamma, and times p_m for gamma > 0, where s is -log(1 - p_m) and u is 1 - p_m:
    (q^2 + 2qm - m) / u^2 + gamma * [2pq / (p_m u) + (gamma - 1) pq s / p_m^2 + (q - p) s / p_m].
    """
    p, q = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(z))
    u = q + clip
    shifted = (q * q + 2 * q * clip - clip) / (u * u) if clip else 1.0
    if gamma == 0:
        return shifted
    p_m = p * (1 - clip) * -math.expm1(margin - z) if clip else p  # p - m without its cancellation
    s = -math.log(u) if p_m > 0.5 else -math.log1p(-p_m)
    ratio = s / p_m if p_m > 0 else 1.0
    return p_m * shifted + gamma * (2 * p * q / u + (gamma - 1) * p * q * ratio + (q - p) * s)
