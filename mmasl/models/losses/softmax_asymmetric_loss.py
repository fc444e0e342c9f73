"""The single-label asymmetric loss as a module, which OpenMMLab heads build from a config."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmasl.functional._run import check_backend
from mmasl.functional._validate import as_class_weight, check_reduction
from mmasl.functional.softmax_asymmetric_loss import DEFAULTS, make_softmax_asymmetry, softmax_asymmetric_loss
from mmasl.models.losses.asymmetric_loss import describe


class SoftmaxAsymmetricLoss(nn.Module):
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

    class_weight: Tensor | None

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
        super().__init__()
        if use_sigmoid:
            raise ValueError(
                'use_sigmoid: expected False, got True; the multi-label (sigmoid) form is another loss, '
                'mmasl.AsymmetricLoss'
            )
        # This raises here and not at the first iteration.
        make_softmax_asymmetry(gamma_pos, gamma_neg, label_smoothing, ignore_index, detach_focus)
        check_reduction(reduction, None)
        check_backend(backend)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.use_sigmoid = use_sigmoid
        self.ignore_index = ignore_index
        self.detach_focus = detach_focus
        self.check_target_range = check_target_range
        self.backend = backend
        self.register_buffer('class_weight', as_class_weight(class_weight), persistent=False)

    def extra_repr(self) -> str:
        return describe(self, 'gamma_pos', 'gamma_neg', 'label_smoothing', 'reduction')

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss; the arguments are those of :func:`mmasl.softmax_asymmetric_loss`.

        ``reduction_override`` replaces ``reduction`` for this call.
        """
        loss = softmax_asymmetric_loss(
            pred,
            target,
            weight,
            self.gamma_pos,
            self.gamma_neg,
            self.label_smoothing,
            self.reduction if reduction_override is None else reduction_override,
            avg_factor,
            class_weight=self.class_weight,
            ignore_index=self.ignore_index,
            detach_focus=self.detach_focus,
            check_target_range=self.check_target_range,
            backend=self.backend,
        )
        return loss if self.loss_weight == 1 else self.loss_weight * loss
