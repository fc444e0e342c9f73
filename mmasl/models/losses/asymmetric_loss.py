"""The asymmetric loss as a module, which OpenMMLab heads build from a config."""

import inspect
from collections.abc import Sequence

from torch import Tensor, nn

from mmasl.functional._run import check_backend
from mmasl.functional._validate import as_class_weight, check_reduction, index_of_one_class, rows_and_classes
from mmasl.functional.asymmetric_loss import DEFAULTS, asymmetric_loss, make_asymmetry


class AsymmetricLoss(nn.Module):
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

    class_weight: Tensor | None

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
        super().__init__()
        if use_sigmoid not in (None, True):
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
        self.use_sigmoid = True
        self.takes_one_class_index = use_sigmoid is not None
        self.eps = eps
        self.alpha = alpha
        self.detach_focus = detach_focus
        self.activated = activated
        self.check_target_range = check_target_range
        self.backend = backend
        self.num_classes = num_classes
        self.register_buffer('class_weight', as_class_weight(class_weight, num_classes), persistent=False)

    def extra_repr(self) -> str:
        said = ['use_sigmoid'] if self.takes_one_class_index else []
        return describe(self, 'gamma_pos', 'gamma_neg', 'clip', 'reduction', *said)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss; the arguments are those of :func:`mmasl.asymmetric_loss`.

        ``reduction_override`` replaces ``reduction`` for this call.
        """
        found = rows_and_classes(pred)[1]
        if self.num_classes not in (None, found):
            raise ValueError(
                f'pred: expected num_classes={self.num_classes} logits a row, got {found}; a detection head '
                'builds one more where its loss_cls does not say use_sigmoid=True'
            )
        target = self._target(pred, target)
        reduction = self.reduction if reduction_override is None else reduction_override
        loss = self._loss(pred, target, weight, reduction, avg_factor)
        return loss if self.loss_weight == 1 else self.loss_weight * loss

    def _target(self, pred, target):
        if self.takes_one_class_index:
            return index_of_one_class(pred, target, self.check_target_range)
        return target

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


def describe(loss: nn.Module, *names: str) -> str:
    """Return the parameters of a loss for its repr: those in ``names`` and those that differ from their defaults."""
    defaults: dict = {}
    for cls in type(loss).__mro__:
        if issubclass(cls, nn.Module) and cls is not nn.Module:
            parameters = inspect.signature(cls.__init__).parameters.values()
            defaults = {p.name: p.default for p in parameters if p.default is not p.empty} | defaults
    defaults.pop('use_sigmoid')
    shown = []
    for name in dict.fromkeys((*names, *defaults)):
        value = getattr(loss, name, defaults.get(name))
        if isinstance(value, Tensor):
            shown.append(f'{name}={value.tolist() if value.numel() < 5 else tuple(value.shape)}')
        elif name in names or value != defaults[name]:
            shown.append(f'{name}={value!r}')
    return ', '.join(shown)
