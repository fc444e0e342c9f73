"""The asymmetric loss as an op; README.md here derives the gradient and says what is saved for backward."""

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.cpu import asymmetric_loss_cpu
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.asymmetric_loss.target import check_target, count_labelled

__all__ = ['Asymmetry', 'asymmetric_loss_cpu', 'asymmetric_loss_reference', 'check_target', 'count_labelled']
