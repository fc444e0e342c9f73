"""The one loss that needs MMDetection: imported when a config names it, not with the others."""

from mmdet.models.losses import QualityFocalLoss

from mmasl.models.losses.asymmetric_quality_loss import AsymmetricQualityLoss
from mmasl.registry import MODELS


@MODELS.register_module()
class AsymmetricQualityFocalLoss(AsymmetricQualityLoss, QualityFocalLoss):
    """:class:`AsymmetricQualityLoss` for the DETR family, whose heads pass ``(labels, scores)`` if they are asked
    ``isinstance(loss_cls, QualityFocalLoss)``, and class indices to any other loss.

    Args:
        args, kwargs: Those of :class:`AsymmetricQualityLoss`; nothing of ``QualityFocalLoss`` is used.

    Example:
        >>> from mmengine.registry import MODELS
        >>> loss = MODELS.build(dict(type='mmasl.AsymmetricQualityFocalLoss', use_sigmoid=True, gamma_neg=2.0, clip=0))
        >>> isinstance(loss, QualityFocalLoss), loss.gamma_neg
        (True, 2.0)
    """
