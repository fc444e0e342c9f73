"""The asymmetric loss as a module, which OpenMMLab heads build from a config."""

from collections.abc import Callable, Sequence

from torch import Tensor

from mmasl.functional._validate import index_of_one_class, rows_and_classes
from mmasl.functional.asymmetric_loss import DEFAULTS, asymmetric_loss, make_asymmetry
from mmasl.models.losses.loss_module import LossModule


class AsymmetricLoss(LossModule):
    """Asymmetric loss (ASL, Eq. 7), a module that stores the parameters of :func:`mmasl.asymmetric_loss`.

    It takes the arguments of MMPretrain's ``AsymmetricLoss``, except for ``use_sigmoid=False``, so a config written for
    that loss needs only the new type.

    Args:
        gamma_pos, gamma_neg, clip, reduction: See :func:`mmasl.asymmetric_loss`.
        loss_weight: Factor of the result, for every reduction.
        use_sigmoid: True or left out. MMDetection reads it from the *config*, and a head without it builds C + 1
            channels, so write it there. If it is True, integer targets (N,) for logits (N, 1) are the class indices of
            a detection head: 0 is the one class, 1 is background. If it is left out, such targets are refused.
        eps: Accepted for configs written for MMPretrain. It has no effect, because nothing is clamped.
        alpha, detach_focus, activated, check_target_range, backend: See :func:`mmasl.asymmetric_loss`.
        class_weight: Sequence of one weight per class. It becomes a buffer that is not part of the checkpoint.
        num_classes: If given, logits with another number of classes are refused.

    Raises:
        TypeError: For positional arguments, because their order differs between MMPretrain and the authors' code.
        ValueError: For ``use_sigmoid=False``, a parameter out of range, or logits without ``num_classes`` classes.

    Example:
        >>> import torch
        >>> loss = AsymmetricLoss(gamma_neg=2.0, clip=0.2)
        >>> loss(torch.zeros(1, 2), torch.tensor([[1, 0]]), avg_factor=1)
        tensor(0.7252)
    """

    function: Callable[..., Tensor] = staticmethod(asymmetric_loss)

    def __init__(
        self,
        *,
        gamma_pos: float = DEFAULTS.gamma_pos,
        gamma_neg: float = DEFAULTS.gamma_neg,  # type: ignore[assignment]
        clip: float | None = DEFAULTS.clip,  # type: ignore[assignment]
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        use_sigmoid: bool | None = None,
        eps: float = 1e-8,
        alpha: float | None = DEFAULTS.alpha,
        class_weight: Sequence[float] | Tensor | None = None,
        detach_focus: bool = DEFAULTS.detach_focus,
        activated: bool = False,
        check_target_range: bool | None = None,
        backend: str = 'auto',
        num_classes: int | None = None,
    ):
        super().__init__(reduction, loss_weight, class_weight, check_target_range, backend, num_classes)
        if use_sigmoid not in (None, True):
            raise ValueError(
                'use_sigmoid: expected True, got False; the single-label (softmax) form is another loss, '
                'mmasl.SoftmaxAsymmetricLoss'
            )
        make_asymmetry(gamma_pos, gamma_neg, clip, alpha, detach_focus)  # raises now, not at the first iteration
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.use_sigmoid = True
        self.takes_one_class_index = use_sigmoid is not None
        self.eps = eps
        self.alpha = alpha
        self.detach_focus = detach_focus
        self.activated = activated

    def extra_repr(self) -> str:
        said = ['use_sigmoid'] if self.takes_one_class_index else []
        return self._describe('gamma_pos', 'gamma_neg', 'clip', 'reduction', *said)

    def _target(self, pred, target):
        found = rows_and_classes(pred)[1]
        if self.num_classes not in (None, found):
            raise ValueError(
                f'pred: expected num_classes={self.num_classes} logits a row, got {found}; a detection head '
                'builds one more where its loss_cls does not say use_sigmoid=True'
            )
        if self.takes_one_class_index:
            return index_of_one_class(pred, target, self.check_target_range)
        return target
