"""The asymmetric loss of heads with quality targets as an op; README.md here derives it."""

from mmasl.ops import Op
from mmasl.ops.asymmetric_loss import OP as NEGATIVE_SIDE
from mmasl.ops.asymmetric_quality_loss.asymmetry import QualityAsymmetry
from mmasl.ops.asymmetric_quality_loss.composed import compose
from mmasl.ops.asymmetric_quality_loss.reference import asymmetric_quality_loss_reference
from mmasl.ops.asymmetric_quality_loss.target import check_quality_target

OP = Op(
    reference=asymmetric_quality_loss_reference,
    plain=compose(NEGATIVE_SIDE.plain),
    cpu=compose(NEGATIVE_SIDE.cpu),
    triton=compose(NEGATIVE_SIDE.triton),
    check_target=lambda target, num_classes, asymmetry: check_quality_target(target, num_classes),
    library=NEGATIVE_SIDE.library,
)

__all__ = ['OP', 'QualityAsymmetry', 'asymmetric_quality_loss_reference']
