"""The losses as modules that store parameters and call :mod:`mmasl.functional`; they need torch alone."""

from mmasl.models.losses.adaptive_asymmetric_loss import AdaptiveAsymmetricLoss
from mmasl.models.losses.asymmetric_loss import AsymmetricLoss
from mmasl.models.losses.asymmetric_quality_loss import AsymmetricQualityLoss
from mmasl.models.losses.softmax_asymmetric_loss import SoftmaxAsymmetricLoss

__all__ = ['AdaptiveAsymmetricLoss', 'AsymmetricLoss', 'AsymmetricQualityLoss', 'SoftmaxAsymmetricLoss']
