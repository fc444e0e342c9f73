"""The four properties of Table 1, computed from the gradient by their definitions."""

import math
from typing import NamedTuple

from mmasl.functional.asymmetric_loss import DEFAULTS, make_asymmetry

# Where limits are taken: two distances from it, far below any margin, whose powers the log of the gradient still holds.
NEAR, NEARER = 1e-290, 1e-300
ZERO = 1e-6  # below it an exponent counts as 0

TABLE_1 = {
    'CE': dict(gamma_neg=0.0, clip=0.0),
    'AF': dict(gamma_neg=2.0, clip=0.0),
    'CE+PS': dict(gamma_neg=0.0, clip=0.2),
    'ASL': dict(gamma_neg=2.0, clip=0.2),
}
"""The rows of Table 1 with the numbers of Fig. 2; the paper gives none for Table 1 and Fig. 3."""


class GradientProperties(NamedTuple):
    """A row of Table 1.

    Attributes:
        hard_threshold: The gradient is exactly 0 on an interval.
        soft_threshold: The gradient over p - m goes to 0 as p falls to m.
        discards_mislabelled: The gradient goes to 0 as p goes to 1.
        continuous: The gradient has no jump at m.
    """

    hard_threshold: bool
    soft_threshold: bool
    discards_mislabelled: bool
    continuous: bool


def gradient_properties(
    gamma_neg: float = DEFAULTS.gamma_neg, clip: float | None = DEFAULTS.clip
) -> GradientProperties:
    """Compute the row of Table 1 for a loss with these constants from values of Eq. 8.

    The exponents of the gradient decide: G ~ (p - m)^a just above the margin and G ~ (1 - p)^b just below 1. a > 1 is a
    soft threshold, a = 0 is a jump, and b > 0 discards mislabelled negatives. Eq. 8 is evaluated as a logarithm, which
    is -inf only where the gradient is exactly 0, and not where it underflows.

    The paper's four rows come out as printed. With a margin, an exponent of 0 < gamma_neg <= 1 does not give a soft
    threshold, because the gradient leaves the margin at least as steeply as a straight line. Without a margin, any
    gamma_neg > 0 gives one.

    Raises:
        ValueError: For an exponent below 0 or a margin outside [0, 1).

    Example:
        >>> gradient_properties(gamma_neg=0.0, clip=0.2)  # CE+PS
        GradientProperties(hard_threshold=True, soft_threshold=False,
                           discards_mislabelled=True, continuous=False)
        >>> gradient_properties(gamma_neg=1.0, clip=0.2).soft_threshold
        False
    """
    asymmetry = make_asymmetry(gamma_neg=gamma_neg, clip=clip)
    gamma, clip = asymmetry.gamma_neg, asymmetry.clip
    probes = [_log_gradient(10.0**-k, 1 - 10.0**-k, 10.0**-k - clip, gamma) for k in range(1, 301)]
    zeros = [probe == -math.inf for probe in probes]

    def above_margin(distance):
        return _log_gradient(clip + distance, 1 - clip - distance, distance, gamma)

    def below_one(distance):
        return _log_gradient(1 - distance, distance, 1 - distance - clip, gamma, distance + clip)

    decades = math.log(NEAR) - math.log(NEARER)
    rise = (above_margin(NEAR) - above_margin(NEARER)) / decades
    fall = (below_one(NEAR) - below_one(NEARER)) / decades
    return GradientProperties(
        hard_threshold=any(a and b for a, b in zip(zeros, zeros[1:], strict=False)),
        soft_threshold=rise > 1 + ZERO,
        discards_mislabelled=fall > ZERO,
        continuous=rise > ZERO,  # below a margin the gradient is 0, so it must come from 0
    )


def _log_gradient(p: float, q: float, p_m: float, gamma: float, u: float | None = None) -> float:
    """Return the log of Eq. 8; the caller may know q = 1 - p and u = 1 - p_m to more digits than p gives."""
    if p_m <= 0:
        return -math.inf
    u = 1 - p_m if u is None else u
    s = -math.log(u) if p_m > 0.5 else -math.log1p(-p_m)
    return gamma * math.log(p_m) + math.log(p) + math.log(q) + math.log(1 / u + gamma * s / p_m)
