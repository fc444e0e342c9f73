"""Stops a run before its first iteration where the model, its loss and the data do not fit each other."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmasl.engine.check_classes import check_classes
from mmasl.engine.check_model import check_model
from mmasl.registry import HOOKS


@HOOKS.register_module()
class CheckModelHook(Hook):
    """Holds the heads of the model against their loss, and the classes of the heads, the data and the checkpoint.

    It runs :func:`mmasl.engine.check_model.check_model` and :func:`mmasl.engine.check_classes.check_classes` when all
    of them are built, before the first iteration. ``tools/train.py`` and ``tools/test.py`` add it to every config.

    Args:
        classes: False leaves the classes out, where a head has more of them than the data on purpose.

    Raises:
        UserError: As the two functions.

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
        self.trained_on = (meta.get('dataset_meta') or {}).get('classes')

    def before_train(self, runner: Runner) -> None:
        # Other classes than those of the checkpoint are what fine-tuning is for.
        self._check(runner, {'train': runner.train_loop, 'val': runner.val_loop}, None)

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
