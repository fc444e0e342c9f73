"""What the paper's figures and Table 1 show of the loss, as pure functions of p; they need torch alone."""

from mmasl.analysis.curves import (
    largest_gradient,
    negative_gradient,
    negative_loss,
    normalised_gradient,
    positive_gradient,
    positive_loss,
)
from mmasl.analysis.p_star import p_star, p_star_without_focusing
from mmasl.analysis.probabilities import probability_gap, probability_sums
from mmasl.analysis.properties import TABLE_1, GradientProperties, gradient_properties

__all__ = [
    'TABLE_1',
    'GradientProperties',
    'gradient_properties',
    'largest_gradient',
    'negative_gradient',
    'negative_loss',
    'normalised_gradient',
    'p_star',
    'p_star_without_focusing',
    'positive_gradient',
    'positive_loss',
    'probability_gap',
    'probability_sums',
]
