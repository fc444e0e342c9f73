"""Says what the last epoch has reached beside the best one, of the averaged and of the raw weights."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmasl.registry import HOOKS

RECORD = 'mmasl_validations'  # in the message hub, which the checkpoints keep


@HOOKS.register_module()
class LastAndBestHook(Hook):
    """At the end of a training, log the last and the best value of the metric, for averaged and raw weights apart.

    The best of many epochs, chosen on the data that it is reported on, is not comparable with the last one, nor is the
    better of averaged and raw weights with either; the authors' script prints the maximum over both. With MMPretrain's
    ``EMAHook(evaluate_on_origin=True)`` four numbers are logged, and none of them replaces another::

        multi-label/mAP, averaged weights: last 86.21 (epoch 41), best on validation 86.60 (epoch 17)
        multi-label/mAP, raw weights: last 85.70 (epoch 41), best on validation 86.02 (epoch 14)

    Args:
        metric (str, optional): The metric, larger being better. By default the first that the evaluator returns.

    Raises:
        KeyError: When validating, if the evaluator does not return ``metric``.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.LastAndBestHook')).metric is None
        True
    """

    priority = 'LOW'  # after EMAHook, which evaluates the raw weights

    def __init__(self, metric: str | None = None) -> None:
        self.metric = metric

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        hub = runner.message_hub
        metric = self.metric or next(iter(metrics))
        if metric not in metrics:
            raise KeyError(f'LastAndBestHook.metric: expected one of {", ".join(metrics)}, got {metric}')
        record = hub.get_info(RECORD, {})
        values, raw = {metric: metrics[metric]}, f'val/{metric}_origin'
        if raw in hub.log_scalars:
            values = {f'{metric}, averaged weights': metrics[metric]}
            values[f'{metric}, raw weights'] = hub.get_scalar(raw).current()
        for name, value in values.items():
            record.setdefault(name, []).append((runner.epoch, float(value)))
        hub.update_info(RECORD, record)

    def after_train(self, runner: Runner) -> None:
        for name, history in runner.message_hub.get_info(RECORD, {}).items():
            (last_epoch, last), (best_epoch, best) = history[-1], max(history, key=lambda pair: pair[1])
            runner.logger.info(
                f'{name}: last {last:.2f} (epoch {last_epoch}), best on validation {best:.2f} (epoch {best_epoch})'
            )
