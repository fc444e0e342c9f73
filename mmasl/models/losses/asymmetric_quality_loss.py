"""The asymmetric loss for quality targets as a module, which detection heads build from a config."""

from collections.abc import Sequence

from torch import Tensor

from mmasl.functional.asymmetric_quality_loss import DEFAULTS, asymmetric_quality_loss, make_quality_asymmetry
from mmasl.models.losses.asymmetric_loss import AsymmetricLoss


class AsymmetricQualityLoss(AsymmetricLoss):
    """Asymmetric loss for quality targets, a module with the parameters of :func:`mmasl.asymmetric_quality_loss`.

    It is for GFL, LD, RTMDet and TOOD, which pass ``(labels, scores)``, and for VFNet, which passes dense scores. The
    DETR family passes scores only to a ``QualityFocalLoss`` and needs ``mmasl.AsymmetricQualityFocalLoss``.

    Args:
        gamma_pos, gamma_neg, clip, reduction: See :func:`mmasl.asymmetric_quality_loss`.
        loss_weight, use_sigmoid, class_weight, num_classes: See :class:`AsymmetricLoss`.
        alpha, iou_weighted, activated, check_target_range, backend: See :func:`mmasl.asymmetric_quality_loss`.

    Raises:
        ValueError: For ``use_sigmoid=False``, a parameter out of range, or logits without ``num_classes`` classes.

    Example:
        >>> import torch
        >>> loss = AsymmetricQualityLoss(gamma_neg=2.0, clip=0.0)  # QualityFocalLoss
        >>> loss(torch.zeros(1, 2), (torch.tensor([1]), torch.tensor([0.75])), avg_factor=1)
        tensor(0.2166)
    """

    function = staticmethod(asymmetric_quality_loss)

    def __init__(
        self,
        *,
        gamma_pos: float = DEFAULTS.gamma_pos,
        gamma_neg: float = DEFAULTS.gamma_neg,
        clip: float | None = DEFAULTS.clip,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        use_sigmoid: bool | None = None,
        alpha: float = DEFAULTS.alpha,
        iou_weighted: bool = DEFAULTS.iou_weighted,
        class_weight: Sequence[float] | Tensor | None = None,
        activated: bool = False,
        check_target_range: bool | None = None,
        backend: str = 'auto',
        num_classes: int | None = None,
    ):
        super().__init__(
            gamma_pos=gamma_pos,
            gamma_neg=gamma_neg,
            clip=clip,
            reduction=reduction,
            loss_weight=loss_weight,
            use_sigmoid=use_sigmoid,
            class_weight=class_weight,
            activated=activated,
            check_target_range=check_target_range,
            backend=backend,
            num_classes=num_classes,
        )
        make_quality_asymmetry(gamma_pos, gamma_neg, clip, alpha, iou_weighted)  # raises now
        self.alpha = alpha
        self.iou_weighted = iou_weighted
