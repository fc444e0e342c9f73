"""Logs the current asymmetry of the adaptive loss."""

import math

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmasl.engine.hooks.probability_gap_hook import ProbabilityGapHook, find_losses
from mmasl.errors import UserError
from mmasl.models.losses.adaptive_asymmetric_loss import AdaptiveAsymmetricLoss
from mmasl.registry import HOOKS


@HOOKS.register_module()
class AsymmetryHook(Hook):
    """Logs the state of ``mmasl.AdaptiveAsymmetricLoss``: its asymmetry and the probability gap of the batch.

    The scalars ``gamma_neg``, ``clip`` (where it is adapted) and ``delta_p`` (Eq. 10, of the global batch) go to the
    terminal, the JSON log and every visualisation backend. If a model has several such losses, the name of each scalar
    begins with the path of its module. If ``mmasl.ProbabilityGapHook`` logs a ``delta_p`` as well, this hook does not
    log it, because MMEngine would smooth over two different values per iteration.

    The hook also ends the loss's batch after each iteration, where it adds up the statistics of all processes. A
    process may then have a batch for which the head does not call the loss.

    Args:
        interval: Number of iterations between two values, at least 1. Each value waits for the device. The logger
            writes only the latest value, so an interval below the logger's serves only the history in the checkpoint.

    Raises:
        ValueError: If ``interval`` is below 1.
        UserError: Before the first iteration, if the model has no such loss.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.AsymmetryHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.asymmetry_hook.AsymmetryHook object at ...>
    """

    priority = 'ABOVE_NORMAL'  # EMAHook and the checkpoints are to see the sums of all processes

    def __init__(self, interval: int = 10):
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval: expected an integer of at least 1, got {interval!r}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        found = {name: m for name, m in model.named_modules() if isinstance(m, AdaptiveAsymmetricLoss)}
        if not found:
            raise UserError('mmasl.AsymmetryHook logs mmasl.AdaptiveAsymmetricLoss, which this model does not have')
        gaps = [find_losses(model, hook.losses) for hook in runner.hooks if isinstance(hook, ProbabilityGapHook)]
        self.delta_p_is_logged = any(len(losses) == 1 for losses in gaps)
        self.losses = {f'{name}.' if len(found) > 1 else '': loss for name, loss in found.items()}
        for loss in found.values():
            loss.ends_with_iteration = True

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for loss in self.losses.values():
            loss.end_batch()
        if not self.every_n_train_iters(runner, self.interval):
            return
        for prefix, loss in self.losses.items():
            for name in (*loss.adapted, 'delta_p'):
                value = getattr(loss, name).item()
                is_logged = name == 'delta_p' and not prefix and self.delta_p_is_logged
                if not is_logged and not math.isnan(value):
                    runner.message_hub.update_scalar(f'train/{prefix}{name}', value)

    def after_train(self, runner: Runner) -> None:
        for loss in self.losses.values():
            loss.ends_with_iteration = False
