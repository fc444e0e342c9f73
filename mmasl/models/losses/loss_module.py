"""What the modules of all losses share: the call of the loss function and the repr."""

import inspect
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from mmasl.functional._run import check_backend
from mmasl.functional._validate import as_class_weight, check_reduction

NOT_STORED = ('pred', 'target', 'weight', 'reduction', 'avg_factor')  # a call of the module has these


class LossModule(nn.Module):
    """A module that calls a loss function, which its subclass names, with parameters that it stores."""

    function: Callable[..., Tensor]
    stored: tuple[str, ...]
    class_weight: Tensor | None

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.stored = tuple(name for name in inspect.signature(cls.function).parameters if name not in NOT_STORED)

    def __init__(
        self,
        reduction: str,
        loss_weight: float,
        class_weight: Sequence[float] | Tensor | None,
        check_target_range: bool | None,
        backend: str,
        num_classes: int | None = None,
    ):
        super().__init__()
        check_reduction(reduction, None)
        check_backend(backend)
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.check_target_range = check_target_range
        self.backend = backend
        self.num_classes = num_classes
        self.register_buffer('class_weight', as_class_weight(class_weight, num_classes), persistent=False)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss. The arguments are those of the function; ``reduction_override`` replaces ``reduction``."""
        reduction = self.reduction if reduction_override is None else reduction_override
        parameters = {name: getattr(self, name) for name in self.stored}
        target = self._target(pred, target)
        loss = self.function(pred, target, weight, reduction=reduction, avg_factor=avg_factor, **parameters)
        return loss if self.loss_weight == 1 else self.loss_weight * loss

    def _target(self, pred, target):
        """Return the target that the function takes."""
        return target

    def _apply(self, fn, recurse=True):
        """Keep the precision of the buffers in a half-precision model, which would round weights and steps."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype != before[name].dtype:
                self._buffers[name] = before[name].to(buffer.device)
        return self

    def _describe(self, *names: str) -> str:
        """Return the parameters for the repr: those in ``names`` and those that differ from their defaults."""
        defaults: dict = {}
        for cls in type(self).__mro__:
            if issubclass(cls, nn.Module) and cls is not nn.Module:
                parameters = inspect.signature(cls.__init__).parameters.values()
                defaults = {p.name: p.default for p in parameters if p.default is not p.empty} | defaults
        defaults.pop('use_sigmoid')
        shown = []
        for name in dict.fromkeys((*names, *defaults)):
            value = getattr(self, name, defaults.get(name))
            if isinstance(value, Tensor):
                shown.append(
                    f'{name}={value.tolist() if value.numel() < 5 and not value.is_meta else tuple(value.shape)}'
                )
            elif name in names or value != defaults[name]:
                shown.append(f'{name}={value!r}')
        return ', '.join(shown)
