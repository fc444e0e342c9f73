"""Checks that the heads of a built model can use the losses of this package and have one channel per class.

MMDetection reads the number of a head's channels from the *config* of its loss. Without ``use_sigmoid=True`` there, it
builds one channel more than there are classes. Class index C is then a valid class, and no loss can tell it from
background.
"""

from collections.abc import Iterator

from mmengine.model import is_model_wrapper
from torch import nn

from mmasl.errors import UserError
from mmasl.models.losses import AsymmetricQualityLoss, SoftmaxAsymmetricLoss
from mmasl.models.losses.loss_module import LossModule

# Heads that accept a loss_cls but do not use it as a loss of logits, by the name of their class or of a base class.
UNFIT_HEADS = {
    'AutoAssignHead': 'never calls its loss_cls and trains with a loss of its own',
    'FreeAnchorRetinaHead': 'never calls its loss_cls and trains with a loss of its own',
    'CenterNetUpdateHead': 'passes probabilities and heatmaps, which need GaussianFocalLoss',
}
PROBABILITY_HEADS = {'TOODHead'}  # they pass no logits
QUALITY_HEADS = {'GFLHead', 'RTMDetHead', 'TOODHead'}  # they pass (labels, scores) to loss_cls
REDUCTIONS = {'YOLOXHead': 'sum', 'FSAFHead': 'none'}  # they average the loss themselves


def check_model(model: nn.Module) -> None:
    """Check each head with one of our classification losses: its kind, and that it has one channel per class.

    Args:
        model: A built model, which may be in a wrapper such as DistributedDataParallel. The function ignores heads
            without ``loss_cls`` and losses of other packages.

    Raises:
        UserError: If the number of a head's channels is not ``num_classes``, because the config of its loss lacks
            ``use_sigmoid=True`` or because it is a softmax head; if a head does not use its ``loss_cls``; if it passes
            probabilities to a loss without ``activated=True``, qualities to a loss for labels, or several labels to a
            loss for one; or if it needs another ``reduction``. The message is one line that names the config key.

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
        check_multi_label(head, name)
        for loss_name, loss in own_losses(head):
            check_head(head, loss, '.'.join(('model', *name.split('.'), loss_name) if name else ('model', loss_name)))


def check_class_weight(head: nn.Module, name: str) -> None:
    """Raise if the number of class weights of a loss of this package does not fit ``head``."""
    for loss_name, loss in head.named_children():
        weight = loss.class_weight if isinstance(loss, LossModule) else None
        softmax = isinstance(loss, SoftmaxAsymmetricLoss)  # a detection head has a channel for background then
        classes = (count_channels(head) if softmax else None) or getattr(head, 'num_classes', None)
        if weight is not None and isinstance(classes, int) and len(weight) != classes:
            key = f'model.{name}.{loss_name}'.replace('loss_module', 'loss')  # the name in the config
            raise UserError(f'{key}.class_weight: expected {classes} weights, one per class, got {len(weight)}')


def check_multi_label(head: nn.Module, name: str) -> None:
    """Raise if ``head`` passes several labels of a picture to a loss for one label."""
    loss = getattr(head, 'loss_module', None)
    if is_multi_label(head) and isinstance(loss, SoftmaxAsymmetricLoss):
        raise UserError(
            f'model.{name}.loss: {type(head).__name__} passes several labels of a picture, but {type(loss).__name__} '
            f'takes one; write type=mmasl.AsymmetricLoss there, or model.{name}.type=LinearClsHead for one label'
        )


def check_ignores(head: nn.Module, name: str, key: str) -> None:
    """Raise if ``head`` has a loss of MMPretrain, which trains on the labels of -1 in the data set ``key``.

    The cross-entropy of such a label has no lower bound. Losses of other origin pass, because MMDetection's
    cross-entropy ignores negative labels, and a user's own loss may do so.
    """
    loss = getattr(head, 'loss_module', None)
    if type(loss).__module__.startswith('mmpretrain.'):
        raise UserError(
            f"{key} has labels of -1 (not annotated), which MMPretrain's {type(loss).__name__} does not ignore: write "
            f'model.{name}.loss.type=mmasl.AsymmetricLoss; with gamma_pos=0, gamma_neg=0 and clip=0 it is '
            'cross-entropy that ignores them'
        )


def is_multi_label(head: nn.Module) -> bool:
    """Return whether ``head`` is one of MMPretrain's heads for several labels of a picture."""
    return any(cls.__name__ == 'MultiLabelClsHead' for cls in type(head).__mro__)


def own_losses(head: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the sigmoid classification losses of ``head`` that are from this package or inherit from one that is."""
    for name, loss in head.named_children():
        ours = any(cls.__module__.startswith('mmasl.') for cls in type(loss).__mro__)
        if 'loss_cls' in name and ours and getattr(loss, 'use_sigmoid', False):
            yield name, loss


def check_head(head: nn.Module, loss: nn.Module, key: str) -> None:
    """Raise if ``head`` cannot use ``loss``, which is at ``key`` of the config."""
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
        needed = REDUCTIONS.get(cls.__name__, loss.reduction)
        if cls.__name__ == 'YOLOV3Head':  # it adds up its losses as they come; upstream's configs give each a 'sum'
            needed = getattr(head.loss_conf, 'reduction', needed)
        if loss.reduction != needed:
            raise UserError(
                f"{key}.reduction='{needed}' is missing in the config: {name} needs it; with '{loss.reduction}', the "
                "class loss has another scale than the head's other losses"
            )
    classes, channels = getattr(head, 'num_classes', None), count_channels(head)
    if classes is None or channels is None:
        return
    found = f'{name} has {channels} class channels for {classes} classes'
    if not getattr(head, 'use_sigmoid_cls', True):
        trouble = 'it predicts by their softmax' if channels == classes else f'{loss_name} needs one per class'
        raise UserError(f'{key}.use_sigmoid=True is missing in the config: {found}, and {trouble}')
    if channels == classes:
        return
    raise UserError(
        f'{key}: {found}, because it classifies by softmax with background as the last channel, but {loss_name} is for '
        f'sigmoid classification; use a softmax loss here: {key}.type=CrossEntropyLoss'
    )


def count_channels(head: nn.Module) -> int | None:
    """Return how many class scores ``head`` has for a location or box, or None if it does not say."""
    if hasattr(head, 'cls_out_channels'):
        return head.cls_out_channels
    # the names in second stages and in Mask2Former
    classifier = getattr(head, 'fc_cls', getattr(head, 'cls_embed', None))
    return getattr(classifier, 'out_features', None)
