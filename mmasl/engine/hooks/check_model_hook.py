"""Stops a run before its first iteration if the model, its loss and the data do not fit together."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmasl.engine.check_classes import check_classes, metainfo_entries
from mmasl.engine.check_model import check_model
from mmasl.engine.check_schedule import early_end
from mmasl.registry import HOOKS


@HOOKS.register_module()
class CheckModelHook(Hook):
    """Checks that the heads fit their losses, and that the heads, the data and the checkpoint have the same classes.

    The hook runs :func:`mmasl.engine.check_model.check_model` and :func:`mmasl.engine.check_classes.check_classes`
    before the first iteration. It also warns if the schedule is over before the training is. ``tools/train.py`` and
    ``tools/test.py`` add it to every config.

    Args:
        classes: False skips the check of the classes, for a head that has other classes than the data on purpose.

    Raises:
        UserError: Under the conditions of the two functions.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.CheckModelHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.check_model_hook.CheckModelHook object at ...>
    """

    priority = 'VERY_HIGH'

    def __init__(self, classes: bool = True):
        self.classes, self.trained_on = classes, None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta') or {}
        self.trained_on = metainfo_entries(meta.get('dataset_meta'))[0].get('classes')

    def before_train(self, runner: Runner) -> None:
        # Fine-tuning usually has other classes than the checkpoint.
        self._check(runner, {'train': runner.train_loop, 'val': runner.val_loop}, None)
        warning = early_end(runner)
        if warning:
            runner.logger.warning(warning)

    def before_test(self, runner: Runner) -> None:
        self._check(runner, {'test': runner.test_loop}, self.trained_on)

    def _check(self, runner: Runner, loops: dict[str, BaseLoop | None], trained_on) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        check_model(model)
        if self.classes:
            datasets = {f'{key}_dataloader.dataset': loop.dataloader.dataset for key, loop in loops.items() if loop}
            check_classes(model, datasets, trained_on)
