"""The losses as functions, which validate, choose a backend and reduce. They need torch alone."""

from mmasl.functional.asymmetric_loss import asymmetric_loss
from mmasl.functional.asymmetric_quality_loss import asymmetric_quality_loss
from mmasl.functional.softmax_asymmetric_loss import softmax_asymmetric_loss

__all__ = ['asymmetric_loss', 'asymmetric_quality_loss', 'softmax_asymmetric_loss']
