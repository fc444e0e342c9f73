"""The constants of the single-label asymmetric loss, and the weights that label smoothing gives to its two sides."""

from typing import NamedTuple


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
