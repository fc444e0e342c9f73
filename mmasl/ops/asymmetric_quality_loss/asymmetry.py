"""The constants of the asymmetric quality loss."""

from typing import NamedTuple

from mmasl.ops.asymmetric_loss import Asymmetry


class QualityAsymmetry(NamedTuple):
    """The constants, already validated.

    Attributes:
        gamma_pos: Exponent of |y - p| for positives, real and >= 0.
        gamma_neg: Focusing exponent of negatives, real and >= 0.
        clip: Probability margin m of negatives, 0 or in [1e-30, 1).
        alpha: Weight of negatives, >= 0.
        iou_weighted: Multiply the loss of a positive by its quality.
    """

    gamma_pos: float = 2.0
    gamma_neg: float = 4.0
    clip: float = 0.05
    alpha: float = 1.0
    iou_weighted: bool = False


def negatives_only(asymmetry: QualityAsymmetry) -> Asymmetry:
    """The negative side of Eq. 7: positives weigh 0."""
    return Asymmetry(0.0, asymmetry.gamma_neg, asymmetry.clip, 0.0)
