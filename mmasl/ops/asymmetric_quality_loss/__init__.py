"""The asymmetric loss for quality targets as an op. Its README.md derives the loss and its gradient."""

from mmasl.ops import Op
from mmasl.ops.asymmetric_loss.cpu import LIBRARY
from mmasl.ops.asymmetric_quality_loss.plain import (
    asymmetric_quality_loss_cpu,
    asymmetric_quality_loss_plain,
    asymmetric_quality_loss_triton,
)
from mmasl.ops.asymmetric_quality_loss.reference import (
    QualityAsymmetry,
    asymmetric_quality_loss_reference,
)

OP = Op(
    reference=asymmetric_quality_loss_reference,
    plain=asymmetric_quality_loss_plain,
    cpu=asymmetric_quality_loss_cpu,
    triton=asymmetric_quality_loss_triton,
    library=LIBRARY,
)

__all__ = ['OP', 'QualityAsymmetry']
