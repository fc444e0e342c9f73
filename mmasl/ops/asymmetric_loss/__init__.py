"""The asymmetric loss as an op. Its README.md derives the gradient and says what is saved for backward."""

from mmasl.ops import Op
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.cpu import LIBRARY, asymmetric_loss_cpu
from mmasl.ops.asymmetric_loss.plain import asymmetric_loss_plain
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.asymmetric_loss.triton import asymmetric_loss_triton

OP = Op(
    reference=asymmetric_loss_reference,
    plain=asymmetric_loss_plain,
    cpu=asymmetric_loss_cpu,
    triton=asymmetric_loss_triton,
    library=LIBRARY,
)

__all__ = ['OP', 'Asymmetry']
