"""Registered losses: modules that hold parameters and forward to :mod:`mmasl.functional`."""

from mmasl.losses.adaptive_asymmetric_loss import AdaptiveAsymmetricLoss
from mmasl.losses.asymmetric_loss import AsymmetricLoss
from mmasl.losses.asymmetric_quality_loss import AsymmetricQualityLoss
from mmasl.losses.softmax_asymmetric_loss import SoftmaxAsymmetricLoss

__all__ = ['AdaptiveAsymmetricLoss', 'AsymmetricLoss', 'AsymmetricQualityLoss', 'SoftmaxAsymmetricLoss']
