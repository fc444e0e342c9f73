"""The asymmetric loss as an op; README.md here derives the gradient and says what is saved for backward."""

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.cpu import asymmetric_loss_cpu
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference

# One function for each backend; all take the arguments of the reference.
BACKENDS = {'reference': asymmetric_loss_reference, 'cpu': asymmetric_loss_cpu}

__all__ = ['BACKENDS', 'Asymmetry', 'asymmetric_loss_cpu', 'asymmetric_loss_reference']
