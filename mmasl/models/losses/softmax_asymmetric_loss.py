"""The single-label asymmetric loss as a module, which OpenMMLab heads build from a config."""

from collections.abc import Sequence

from torch import Tensor

from mmasl.functional.softmax_asymmetric_loss import DEFAULTS, make_softmax_asymmetry, softmax_asymmetric_loss
from mmasl.models.losses.loss_module import LossModule


class SoftmaxAsymmetricLoss(LossModule):
    """Single-label asymmetric loss, a module that stores the parameters of :func:`mmasl.softmax_asymmetric_loss`.

    It is for softmax heads such as ``LinearClsHead``, with class indices or the scores of mixup as targets:
    ``loss=dict(type='mmasl.SoftmaxAsymmetricLoss', gamma_neg=4.0, label_smoothing=0.1)``.
    Without label smoothing, ``gamma_neg`` has no effect; with ``gamma_pos=0`` the loss is then cross-entropy.

    Args:
        gamma_pos, gamma_neg, label_smoothing, reduction: See :func:`mmasl.softmax_asymmetric_loss`.
        loss_weight: Factor of the result, for every reduction.
        use_sigmoid: Must be False. MMDetection reads it from the *config*, where it is False by default.
        class_weight: Sequence of one weight per class. It becomes a buffer that is not part of the checkpoint.
        ignore_index, detach_focus, check_target_range, backend: See :func:`mmasl.softmax_asymmetric_loss`.

    Raises:
        TypeError: For positional arguments, or an ``ignore_index`` that is not an integer.
        ValueError: For ``use_sigmoid=True``, or a parameter out of range.

    Example:
        >>> import torch
        >>> loss = SoftmaxAsymmetricLoss(gamma_pos=1.0, label_smoothing=0.2)
        >>> loss(torch.zeros(2, 4), torch.tensor([3, 0]), avg_factor=2)
        tensor(0.8846)
    """

    function = staticmethod(softmax_asymmetric_loss)

    def __init__(
        self,
        *,
        gamma_pos: float = DEFAULTS.gamma_pos,
        gamma_neg: float = DEFAULTS.gamma_neg,
        label_smoothing: float = DEFAULTS.label_smoothing,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        use_sigmoid: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = DEFAULTS.ignore_index,
        detach_focus: bool = DEFAULTS.detach_focus,
        check_target_range: bool | None = None,
        backend: str = 'auto',
    ):
        super().__init__(reduction, loss_weight, class_weight, check_target_range, backend)
        if use_sigmoid:
            raise ValueError(
                'use_sigmoid: expected False, got True; the multi-label (sigmoid) form is another loss, '
                'mmasl.AsymmetricLoss'
            )
        # This raises here and not at the first iteration.
        make_softmax_asymmetry(gamma_pos, gamma_neg, label_smoothing, ignore_index, detach_focus)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.label_smoothing = label_smoothing
        self.use_sigmoid = use_sigmoid
        self.ignore_index = ignore_index
        self.detach_focus = detach_focus

    def extra_repr(self) -> str:
        return self._describe('gamma_pos', 'gamma_neg', 'label_smoothing', 'reduction')
