"""The asymmetric loss as a module that OpenMMLab heads build from a config."""

import torch
from torch import Tensor, nn

from mmasl.functional._backend import check_backend
from mmasl.functional._validate import check_reduction
from mmasl.functional.asymmetric_loss import asymmetric_loss, make_asymmetry
from mmasl.registry import MODELS


@MODELS.register_module()
class AsymmetricLoss(nn.Module):
    """Asymmetric loss (ASL, Eq. 7): :func:`mmasl.asymmetric_loss` with its parameters held.

    A config written for MMPretrain's ``AsymmetricLoss`` keeps its arguments when it says ``mmasl.AsymmetricLoss``.

    Args:
        gamma_pos, gamma_neg, clip, reduction: See :func:`mmasl.asymmetric_loss`.
        loss_weight: Multiplies what is returned, for every reduction.
        use_sigmoid: Must be True. MMDetection reads it from the *config*, so write it there: a head without it builds
            C + 1 channels.
        eps: Accepted for configs written for MMPretrain, and without effect: nothing is clamped.
        alpha, detach_focus, activated, check_target_range, backend: See :func:`mmasl.asymmetric_loss`.
        class_weight: A weight for each class, as a sequence; kept as a buffer that the checkpoint leaves out.
        num_classes: If given, logits of another number of classes are refused.

    Raises:
        ValueError: ``use_sigmoid=False``, a parameter out of range, or logits that do not have ``num_classes``.

    Example:
        >>> loss = AsymmetricLoss(gamma_neg=2.0, clip=0.2)
        >>> loss(torch.zeros(1, 2), torch.tensor([[1, 0]]), avg_factor=1)
        tensor(0.7252)
    """

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float | None = 0.05,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        use_sigmoid: bool = True,
        eps: float = 1e-8,
        *,
        alpha: float | None = None,
        class_weight=None,
        detach_focus: bool = False,
        activated: bool = False,
        check_target_range: bool | None = None,
        backend: str = 'auto',
        num_classes: int | None = None,
    ):
        super().__init__()
        if not use_sigmoid:
            raise ValueError(
                'use_sigmoid: expected True, got False; the single-label (softmax) form is another loss, '
                'mmasl.SoftmaxAsymmetricLoss'
            )
        make_asymmetry(gamma_pos, gamma_neg, clip, alpha, detach_focus)  # raises now, not at the first iteration
        check_reduction(reduction, None)
        check_backend(backend)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.use_sigmoid = use_sigmoid
        self.eps = eps
        self.alpha = alpha
        self.detach_focus = detach_focus
        self.activated = activated
        self.check_target_range = check_target_range
        self.backend = backend
        self.num_classes = num_classes
        class_weight = None if class_weight is None else torch.as_tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', class_weight, persistent=False)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Arguments as :func:`mmasl.asymmetric_loss`; ``reduction_override`` replaces ``reduction`` for this call."""
        if self.num_classes is not None and pred.shape[-1] != self.num_classes:
            raise ValueError(
                f'pred: expected num_classes={self.num_classes} logits a row, got {pred.shape[-1]}; a detection head '
                'builds one more where its loss_cls does not say use_sigmoid=True'
            )
        reduction = self.reduction if reduction_override is None else reduction_override
        loss = self._loss(pred, target, weight, reduction, avg_factor)
        return loss if self.loss_weight == 1 else self.loss_weight * loss

    def _loss(self, pred, target, weight, reduction, avg_factor) -> Tensor:
        return asymmetric_loss(
            pred,
            target,
            weight,
            self.gamma_pos,
            self.gamma_neg,
            self.clip,
            reduction,
            avg_factor,
            alpha=self.alpha,
            class_weight=self.class_weight,
            detach_focus=self.detach_focus,
            activated=self.activated,
            check_target_range=self.check_target_range,
            backend=self.backend,
        )
