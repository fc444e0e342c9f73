"""The curves and properties of the paper's figures and of Table 1, as pure functions of p that need torch alone."""

from mmasl.analysis.curves import (
    largest_gradient,
    negative_gradient,
    negative_loss,
    normalised_gradient,
    positive_gradient,
    positive_loss,
)
from mmasl.analysis.label_statistics import LabelStatistics, count_labels, starting_ladder
from mmasl.analysis.p_star import p_star, p_star_without_focusing
from mmasl.analysis.properties import TABLE_1, GradientProperties, gradient_properties

__all__ = [
    'TABLE_1',
    'GradientProperties',
    'LabelStatistics',
    'count_labels',
    'gradient_properties',
    'largest_gradient',
    'negative_gradient',
    'negative_loss',
    'normalised_gradient',
    'p_star',
    'p_star_without_focusing',
    'positive_gradient',
    'positive_loss',
    'starting_ladder',
]
