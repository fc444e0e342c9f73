"""Logs the last and the best value of the metric, for the averaged and for the raw weights."""

import json
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmasl.errors import UserError
from mmasl.files import write_json
from mmasl.registry import HOOKS

RECORD = 'mmasl_validations'  # the name in the message hub, which checkpoints keep, and in the work directory (.json)


@HOOKS.register_module()
class LastAndBestHook(Hook):
    """Logs the last and the best value of the metric at the end of a training, separately for averaged and raw weights.

    The best of many epochs is chosen on the data on which it is reported, so it is not comparable with the last epoch.
    The better of averaged and raw weights is not comparable with either. The authors' script prints the maximum over
    all of them. With MMPretrain's ``EMAHook(evaluate_on_origin=True)``, this hook logs four separate numbers::

        multi-label/mAP, averaged weights: last 86.21 (epoch 41), best on validation 86.60 (epoch 17)
        multi-label/mAP, raw weights: last 85.70 (epoch 41), best on validation 86.02 (epoch 14)

    The hook also writes all validations to ``mmasl_validations.json`` in the work directory, where a resumed training
    finds them.

    Args:
        metric (str, optional): Name of the metric; larger is better. By default the first one that the evaluator
            returns.

    Raises:
        UserError: When validating, if the evaluator does not return ``metric``.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.LastAndBestHook')).metric is None
        True
    """

    priority = 'LOW'  # after EMAHook, which evaluates the raw weights

    def __init__(self, metric: str | None = None) -> None:
        self.metric = metric

    def before_train(self, runner: Runner) -> None:
        # A checkpoint is written before its epoch is validated, so the hub of a resumed training lacks that validation.
        file = Path(runner.work_dir, f'{RECORD}.json')
        if runner.iter and file.is_file():
            record = json.loads(file.read_text())
            kept = {name: [entry for entry in history if entry[0] <= runner.iter] for name, history in record.items()}
            runner.message_hub.update_info(RECORD, {name: history for name, history in kept.items() if history})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        hub = runner.message_hub
        metric = self.metric or next(iter(metrics))
        if metric not in metrics:
            raise UserError(f'custom_hooks: LastAndBestHook.metric: expected one of {", ".join(metrics)}, got {metric}')
        record = hub.get_info(RECORD, {})
        values, raw = {metric: metrics[metric]}, f'val/{metric}_origin'
        if raw in hub.log_scalars:
            values = {f'{metric}, averaged weights': metrics[metric]}
            values[f'{metric}, raw weights'] = hub.get_scalar(raw).current()
        at = f'epoch {runner.epoch}' if runner.epoch else f'iteration {runner.iter}'
        for name, value in values.items():
            record.setdefault(name, []).append((runner.iter, at, float(value)))
        hub.update_info(RECORD, record)
        if runner.rank == 0:
            write_json(Path(runner.work_dir, f'{RECORD}.json'), record)

    def after_train(self, runner: Runner) -> None:
        for name, history in runner.message_hub.get_info(RECORD, {}).items():
            (_, last_at, last), (_, best_at, best) = history[-1], max(history, key=lambda entry: entry[-1])
            runner.logger.info(f'{name}: last {last:.2f} ({last_at}), best on validation {best:.2f} ({best_at})')
