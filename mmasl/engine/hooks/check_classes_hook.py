"""Stops a training whose classifier has another number of classes than its data, before it starts."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmasl.errors import UserError
from mmasl.registry import HOOKS


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Compares ``model.head.num_classes`` with the classes that the training data name.

    Some published data sets do not say how many classes they have but in their files (Open Images, Herbarium 2020), so
    a config may be wrong about it: too few scores end in an index error, too many are trained in vain without a word.

    Raises:
        UserError: Before the first iteration, with the options that make both agree. Nothing is checked where the data
            name no classes or the head does not say how many it has.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.CheckClassesHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.check_classes_hook.CheckClassesHook object at ...>
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        in_head = getattr(getattr(model, 'head', None), 'num_classes', None)
        classes = getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes')
        if in_head is None or classes is None or in_head == len(classes):
            return
        raise UserError(
            f'model.head.num_classes={in_head}, but the training data have {len(classes)} classes: --cfg-options '
            f'model.head.num_classes={len(classes)} model.data_preprocessor.num_classes={len(classes)}'
        )
