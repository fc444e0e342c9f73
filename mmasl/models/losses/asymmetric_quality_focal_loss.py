"""The one loss that needs MMDetection; it is imported only when a config names it."""

from mmdet.models.losses import QualityFocalLoss

from mmasl.models.losses.asymmetric_quality_loss import AsymmetricQualityLoss
from mmasl.registry import MODELS


@MODELS.register_module()
class AsymmetricQualityFocalLoss(AsymmetricQualityLoss, QualityFocalLoss):
    """:class:`AsymmetricQualityLoss` as a subclass of ``QualityFocalLoss``, for the DETR family.

    These heads pass ``(labels, scores)`` to an instance of ``QualityFocalLoss`` and class indices to any other loss.

    Args:
        args, kwargs: Arguments of :class:`AsymmetricQualityLoss`; nothing of ``QualityFocalLoss`` is used.

    Example:
        >>> from mmengine.registry import MODELS
        >>> config = dict(type='mmasl.AsymmetricQualityFocalLoss', use_sigmoid=True, gamma_neg=2.0)
        >>> loss = MODELS.build(config)
        >>> isinstance(loss, QualityFocalLoss), loss.gamma_neg
        (True, 2.0)
    """
