"""Logs p_t of positives and of negatives and their gap during training (Fig. 4)."""

import inspect
from collections.abc import Sequence
from functools import partial

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook, LoggerHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmasl.errors import UserError
from mmasl.functional._validate import index_of_one_class
from mmasl.functional.probability_sums import probability_sums
from mmasl.registry import HOOKS

# The ends of the names that MMPretrain's and MMDetection's heads give their classification losses.
LOSS_NAMES = ('loss_module', 'loss_cls')
RECENT = 10  # measurements of training batches that a validation is compared with
LEARNED_BY_HEART = 0.2  # above it asymmetric losses were mostly behind under hidden layers (docs/choose.md)
SIGMOID_BY_NATURE = ('FocalLoss',)  # MMPretrain's loss, which has no use_sigmoid


@HOOKS.register_module()
class ProbabilityGapHook(Hook):
    r"""Logs ``pt_pos``, ``pt_neg`` and ``delta_p`` (Eq. 9 and 10) of the training batches, for any loss.

    The hook reads what the heads pass to their classification loss: logits, dense or class-index targets
    (C = background), and weights, where a weight of 0 excludes the entry. It therefore works with every sigmoid head of
    MMPretrain and MMDetection, and it measures the batch of all processes together. In a detector, positives are the
    assigned anchors or points. The scalars go to the JSON log, to TensorBoard and to any other vis backend. The hook
    logs nothing for a batch without positives or without negatives. It does not change the training, to the last bit.
    For held-out data use :class:`mmasl.evaluation.MultiLabelMetric`, with ``per_class=True`` also for each class.

    After a validation with that metric the hook also logs ``val/pt_pos_excess``: ``pt_pos`` of the latest training
    batches minus ``pt_pos`` of the held-out images. It measures how far the model has memorised its training labels,
    and so how likely asymmetry is to pay under hidden layers. If it is large, the hook logs a message once.

    Args:
        losses: Names of loss modules, such as ``'head.loss_module'``. None means every ``loss_module`` and ``loss_cls``
            with sigmoid scores. If there are several, each scalar's name begins with its head, as in
            ``rpn_head/delta_p``.
        interval: Iterations between two measurements. None means the interval of ``LoggerHook``, so the hook measures
            only what is logged. 1 records every iteration, for smoothing by ``log_processor.custom_cfg``.

    Raises:
        ValueError: If ``interval`` is not an integer above 0.
        UserError: Before training, if no loss has sigmoid scores or if a named loss does not exist.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.ProbabilityGapHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.probability_gap_hook.ProbabilityGapHook object at ...>
    """

    def __init__(self, losses: Sequence[str] | str | None = None, interval: int | None = None):
        if interval is not None and (type(interval) is not int or interval < 1):
            raise ValueError(f'custom_hooks: ProbabilityGapHook.interval must be an integer above 0, got {interval!r}')
        self.losses = [losses] if isinstance(losses, str) else losses
        self.interval = interval
        self._parts: dict[str, list[torch.Tensor]] = {}  # for each loss, the sums of its calls in this iteration
        self._handles: list = []
        self._measure = False
        self._warned = False
        self._advised = False

    def before_run(self, runner: Runner) -> None:
        find_losses(runner.model, self.losses)  # raises before anything is loaded

    def before_train(self, runner: Runner) -> None:  # after EMAHook has made its copy, which must not measure
        if self.interval is None:
            self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        found = find_losses(runner.model, self.losses)
        device = next(runner.model.parameters(), torch.empty(0)).device
        self._none = torch.zeros(4, dtype=torch.float64, device=device)
        for name, loss in found.items():
            prefix = f'{name.rpartition(".")[0]}/' if len(found) > 1 else ''
            self._parts[prefix] = []
            hook = partial(self._add, self._parts[prefix], inspect.signature(loss.forward))
            self._handles.append(loss.register_forward_pre_hook(hook, with_kwargs=True))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        # LoggerHook also logs the end of an epoch that is shorter than its interval
        end = self.end_of_epoch(runner.train_dataloader, batch_idx)
        self._measure = end or self.every_n_inner_iters(batch_idx, self.interval)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self._measure:
            return
        self._measure = False
        if not any(self._parts.values()) and not self._warned:
            runner.logger.warning('ProbabilityGapHook: the heads did not call their classification loss')
            self._warned = True
        for prefix, parts in self._parts.items():
            sums = torch.stack([self._none, *parts]).sum(0)  # every process must take part, even without a call
            all_reduce(sums)
            parts.clear()
            for name, value in scalars(sums).items():
                runner.message_hub.update_scalar(f'train/{prefix}{name}', value)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        hub = runner.message_hub
        held_out = [value for name, value in (metrics or {}).items() if name.endswith('/pt_pos')]
        if len(held_out) != 1 or 'train/pt_pos' not in hub.log_scalars:
            return
        excess = float(hub.get_scalar('train/pt_pos').data[0][-RECENT:].mean() - held_out[0])
        hub.update_scalar('val/pt_pos_excess', excess)
        if excess > LEARNED_BY_HEART and not self._advised:
            self._advised = True
            runner.logger.info(
                f'ProbabilityGapHook: the model is surer of training positives than of held-out ones by {excess:.2f}. '
                'If this lasts to the end of the training, the model memorises its labels, and under hidden layers '
                'asymmetric losses were then mostly behind cross-entropy; see docs/choose.md'
            )

    def after_train(self, runner: Runner) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _add(self, parts: list, signature: inspect.Signature, loss: nn.Module, args: tuple, kwargs: dict) -> None:
        """Add the sums of one call of ``loss``; a head may call its loss once per level."""
        if not (self._measure and loss.training):
            return
        given = signature.bind(*args, **kwargs).arguments
        pred, target = list(given.values())[:2]
        weight = given.get('weight', given.get('label_weight'))  # GHMC's name for it
        if isinstance(target, tuple):  # QualityFocalLoss gets class indices and the boxes' quality
            target = target[0]
        ignored = getattr(loss, 'ignore_index', None)
        if ignored is not None:
            target = target.masked_fill(target == ignored, -1)
        target = index_of_one_class(pred, target, check_target_range=False)
        parts.append(probability_sums(pred, target, weight, getattr(loss, 'activated', False)).sum(1))


def scalars(sums: torch.Tensor) -> dict[str, float]:
    """Return the scalars to log from the sums of a batch; none if it has no positive or no negative."""
    positive, positives, negative, negatives = sums.tolist()
    if not (positives and negatives):
        return {}
    pt_pos, pt_neg = positive / positives, negative / negatives
    return dict(pt_pos=pt_pos, pt_neg=pt_neg, delta_p=pt_pos - pt_neg)


def find_losses(model: nn.Module, names: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Return the classification losses of ``model`` that take sigmoid scores, by name; only ``names`` if given.

    Raises:
        UserError: If there is none. The message names the config key of each loss that was found instead.
    """
    while is_model_wrapper(model):
        model = model.module
    modules = dict(model.named_modules())
    found = {name: loss for name, loss in modules.items() if name.endswith(LOSS_NAMES)}
    if names is not None:
        for name in names:
            if name not in modules:
                there = f'; it has {", ".join(found)}' if found else ''
                raise UserError(f"custom_hooks: ProbabilityGapHook.losses: the model has no module '{name}'{there}")
        found = {name: modules[name] for name in names}
    fit = {name: loss for name, loss in found.items() if takes_sigmoid(loss, names is not None)}
    if not fit or (names is not None and len(fit) < len(found)):
        unfit = ', '.join(f'{config_key(name)}.use_sigmoid ({type(loss).__name__})' for name, loss in found.items())
        raise UserError(
            'custom_hooks: ProbabilityGapHook measures sigmoid scores, and '
            + (f'these losses do not say that they take any: {unfit}' if unfit else 'the model has no loss_cls or loss')
        )
    return fit


def takes_sigmoid(loss: nn.Module, unless_denied: bool = False) -> bool:
    """Return whether ``loss`` or a loss inside it has ``use_sigmoid``, and ``unless_denied`` if none declares it."""
    said = [module.use_sigmoid for module in loss.modules() if getattr(module, 'use_sigmoid', None) is not None]
    return bool(said[0]) if said else unless_denied or type(loss).__name__ in SIGMOID_BY_NATURE


def config_key(name: str) -> str:
    """Return the config key of the loss module ``name``."""
    return f'model.{name.removesuffix("_module")}'
