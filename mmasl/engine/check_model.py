"""Can the heads of a built detector use the losses of this package, and have they as many channels as classes?

MMDetection reads from the *config* of a loss how many channels a head gets, and builds one more than there are classes
where ``use_sigmoid=True`` is left out. Class index C is then a valid class, and no loss can tell it from background.
"""

from collections.abc import Iterator

from mmengine.model import is_model_wrapper
from torch import nn

from mmasl.errors import UserError
from mmasl.models.losses import AsymmetricQualityLoss

# Heads that take a loss_cls and do something else with it, by the name of their class or of one that it inherits from.
UNFIT_HEADS = {
    'AutoAssignHead': 'never calls its loss_cls and trains with a loss of its own',
    'FreeAnchorRetinaHead': 'never calls its loss_cls and trains with a loss of its own',
    'CenterNetUpdateHead': 'passes probabilities and heatmaps, for which GaussianFocalLoss is made',
}
PROBABILITY_HEADS = {'TOODHead'}  # they pass no logits
QUALITY_HEADS = {'GFLHead', 'RTMDetHead', 'TOODHead'}  # they pass (labels, scores) to loss_cls


def check_model(model: nn.Module) -> None:
    """Check each head whose classification loss is one of ours: its kind, and its channels against its classes.

    Args:
        model: A built model, in a wrapper such as DistributedDataParallel or not. Heads without ``loss_cls``, and
            losses of other packages, are not looked at.

    Raises:
        UserError: A head has other than ``num_classes`` channels, as the config of its loss does not say
            ``use_sigmoid=True`` or as it is a softmax head; or it does not use its ``loss_cls``; or it passes
            probabilities to a loss without ``activated=True``, or qualities to one for labels. One line that names the
            config key.

    Example:
        >>> from mmasl.models.losses import AsymmetricLoss
        >>> head = nn.Module()
        >>> head.num_classes, head.cls_out_channels, head.use_sigmoid_cls = 80, 81, False
        >>> head.loss_cls = AsymmetricLoss()
        >>> check_model(nn.ModuleDict({'bbox_head': head}))
        Traceback (most recent call last):
        mmasl.errors.UserError: model.bbox_head.loss_cls.use_sigmoid=True is missing in the config: ...
    """
    while is_model_wrapper(model):
        model = model.module
    for name, head in model.named_modules():
        check_class_weight(head, name)
        for loss_name, loss in own_losses(head):
            check_head(head, loss, '.'.join(('model', *name.split('.'), loss_name) if name else ('model', loss_name)))


def check_class_weight(head: nn.Module, name: str) -> None:
    """Raise where a loss of ``head`` has other than one weight for each class."""
    for loss_name, loss in head.named_children():
        weight, classes = getattr(loss, 'class_weight', None), getattr(head, 'num_classes', None)
        if weight is not None and isinstance(classes, int) and len(weight) != classes:
            key = f'model.{name}.{loss_name}'.replace('loss_module', 'loss')  # which the config calls loss
            raise UserError(f'{key}.class_weight: expected {classes} weights, one for each class, got {len(weight)}')


def own_losses(head: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the sigmoid classification losses of ``head`` that come, or inherit, from this package."""
    for name, loss in head.named_children():
        ours = any(cls.__module__.startswith('mmasl.') for cls in type(loss).__mro__)
        if 'loss_cls' in name and ours and getattr(loss, 'use_sigmoid', False):
            yield name, loss


def check_head(head: nn.Module, loss: nn.Module, key: str) -> None:
    """Raise where ``head`` cannot use ``loss``, which stands at ``key`` of the config."""
    name, loss_name = type(head).__name__, type(loss).__name__
    for cls in type(head).__mro__:
        if cls.__name__ in UNFIT_HEADS:
            raise UserError(f'{key}: {name} {UNFIT_HEADS[cls.__name__]}; {loss_name} cannot work there')
        if cls.__name__ in PROBABILITY_HEADS and not loss.activated:
            raise UserError(f'{key}.activated=True is missing in the config: {name} passes probabilities to its loss')
        if cls.__name__ in QUALITY_HEADS and key.endswith('.loss_cls') and not isinstance(loss, AsymmetricQualityLoss):
            raise UserError(
                f'{key}.type=mmasl.AsymmetricQualityLoss is needed: {name} passes (labels, scores), which {loss_name} '
                'does not take'
            )
    classes, channels = getattr(head, 'num_classes', None), count_channels(head)
    if classes is None or channels is None:
        return
    found = f'{name} has {channels} class channels for {classes} classes'
    if not getattr(head, 'use_sigmoid_cls', True):
        trouble = (
            ' and takes their softmax in prediction' if channels == classes else f', {loss_name} wants one for each'
        )
        raise UserError(f'{key}.use_sigmoid=True is missing in the config: {found}{trouble}')
    if channels == classes:
        return
    raise UserError(
        f'{key}: {found}; it is made for softmax classification with background as the last channel, and {loss_name} '
        f'is for heads with sigmoid classification. Take a softmax loss here: {key}.type=CrossEntropyLoss'
    )


def count_channels(head: nn.Module) -> int | None:
    """Return how many class scores ``head`` gives for a location or box; None where it does not say."""
    if hasattr(head, 'cls_out_channels'):
        return head.cls_out_channels
    classifier = getattr(head, 'fc_cls', getattr(head, 'cls_embed', None))  # of second stages, of Mask2Former
    return getattr(classifier, 'out_features', None)
