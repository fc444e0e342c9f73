"""Stops a training when its loss or logits become NaN or infinite, and names the classes."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmasl.engine.check_classes import metainfo_entries
from mmasl.engine.hooks.probability_gap_hook import LOSS_NAMES
from mmasl.errors import UserError
from mmasl.registry import HOOKS


@HOOKS.register_module()
class StopAtNaNHook(Hook):
    """Stops the training at the first loss or logit that is NaN or infinite, before a checkpoint of it is written.

    A logit of -inf is allowed, because heads mask classes with it.

    The hook also looks at the logits, because a loss with a margin compares them, and a comparison with NaN is false.
    ``tools/train.py`` adds the hook to every config.

    Raises:
        UserError: If a loss or a logit is not finite. The message names the iteration, the parts of the loss and the
            classes that are not finite, and the last checkpoint before it.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.StopAtNaNHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.stop_at_nan_hook.StopAtNaNHook object at ...>
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        self.logits: list[tuple[str, torch.Tensor]] = []  # of one iteration
        self.handles = [
            module.register_forward_pre_hook(partial(self._keep, name), with_kwargs=True)
            for name, module in runner.model.named_modules()
            if name.endswith(LOSS_NAMES)
        ]

    def after_train(self, runner: Runner) -> None:
        for handle in self.handles:  # a later training of the same model must not keep its logits here
            handle.remove()

    def _keep(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        pred = args[0] if args else next(iter(kwargs.values()), None)
        if module.training and isinstance(pred, torch.Tensor):
            self.logits.append((name, pred.detach()))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        logits, self.logits = self.logits, []
        # MMEngine reads the losses anyway, so this adds no wait for a GPU.
        losses = {name: torch.as_tensor(value).item() for name, value in (outputs or {}).items() if 'loss' in name}
        wrong = [f'{name} is {value}' for name, value in losses.items() if not math.isfinite(value)]
        # The sum takes one pass but may overflow where all logits are finite; not_finite() then finds no class.
        found = [not_finite(*pair) for pair in logits if not pair[1].sum(dtype=torch.float32).isfinite()]
        classes = metainfo_entries(runner.message_hub.runtime_info.get('dataset_meta'))[0].get('classes', ())
        wrong += [f'logits of {name_classes(*where, classes)} are not finite' for where in found if where[1]]
        if not wrong:
            return
        last = runner.message_hub.runtime_info.get('last_ckpt')
        kept = f'{last} is the last checkpoint before it' if last else 'there is no checkpoint before it'
        raise UserError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {", ".join(dict.fromkeys(wrong))}; {kept}. '
            'A lower learning rate or optim_wrapper.clip_grad.max_norm=1 helps most often, then --resume'
        )


def not_finite(name: str, logits: torch.Tensor) -> tuple[str, list[int], int]:
    """Return the name, the classes (columns) with a logit that is NaN or inf, and the number of classes."""
    num_classes = logits.shape[-1] if logits.ndim > 1 else 1
    bad = ~(logits < math.inf).reshape(-1, num_classes).all(0)  # -inf is how a head masks a class
    return name, bad.nonzero().flatten().tolist(), num_classes


def name_classes(loss: str, indices: list[int], num_classes: int, classes: Sequence[str]) -> str:
    """Return the names of the first few classes, as far as there are names."""
    names = [str(classes[i]) if len(classes) == num_classes else f'class {i}' for i in indices[:3]]
    more = f' and {len(indices) - 3} more' if len(indices) > 3 else ''
    return f'{", ".join(names)}{more} in {loss}'
