"""The single-label asymmetric loss as an op. Its README.md derives the gradient and says what is saved."""

from mmasl.ops import Op
from mmasl.ops.softmax_asymmetric_loss.cpu import LIBRARY, softmax_asymmetric_loss_cpu
from mmasl.ops.softmax_asymmetric_loss.plain import softmax_asymmetric_loss_plain
from mmasl.ops.softmax_asymmetric_loss.reference import (
    SoftmaxAsymmetry,
    softmax_asymmetric_loss_reference,
)
from mmasl.ops.softmax_asymmetric_loss.triton import softmax_asymmetric_loss_triton

OP = Op(
    reference=softmax_asymmetric_loss_reference,
    plain=softmax_asymmetric_loss_plain,
    cpu=softmax_asymmetric_loss_cpu,
    triton=softmax_asymmetric_loss_triton,
    library=LIBRARY,
)

__all__ = ['OP', 'SoftmaxAsymmetry']
