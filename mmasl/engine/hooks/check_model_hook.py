"""Stops a training whose heads do not fit their loss, before it starts."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmasl.engine.check_model import check_model
from mmasl.registry import HOOKS


@HOOKS.register_module()
class CheckModelHook(Hook):
    """Runs :func:`mmasl.engine.check_model.check_model` before training, for those who do not start it by our tools.

    Raises:
        UserError: As the function.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.CheckModelHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.check_model_hook.CheckModelHook object at ...>
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        check_model(runner.model)
