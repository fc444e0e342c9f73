"""The asymmetric loss as an op. Its README.md derives the gradient and says what is saved for backward."""

from mmasl.ops import Op
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.cpu import LIBRARY, asymmetric_loss_cpu
from mmasl.ops.asymmetric_loss.plain import asymmetric_loss_plain
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.asymmetric_loss.triton import asymmetric_loss_triton
from mmasl.ops.target import check_target

OP = Op(
    reference=asymmetric_loss_reference,
    plain=asymmetric_loss_plain,
    cpu=asymmetric_loss_cpu,
    triton=asymmetric_loss_triton,
    check_target=lambda target, num_classes, asymmetry: check_target(target, num_classes),
    library=LIBRARY,
)

__all__ = [
    'OP',
    'Asymmetry',
    'asymmetric_loss_cpu',
    'asymmetric_loss_plain',
    'asymmetric_loss_reference',
    'asymmetric_loss_triton',
]
