"""Stops a training whose heads do not fit their loss, before it starts."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmasl.registry import HOOKS
from mmasl.utils.check_model import check_model


@HOOKS.register_module()
class CheckModelHook(Hook):
    """Runs :func:`mmasl.utils.check_model.check_model` before training, for those who do not start it by our tools.

    Raises:
        UserError: As the function.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.CheckModelHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.hooks.check_model_hook.CheckModelHook object at ...>
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        check_model(runner.model)
