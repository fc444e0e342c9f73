"""Have the heads of a model and its data sets the same classes, in the same order?"""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral

from torch import nn

from mmasl.errors import UserError, did_you_mean

# MMDetection's models with such a part have heads for other classes than those of the data, on purpose: detectors that
# read the names of the classes as a text, trackers that detect one of many classes, panoptic models.
OTHER_HEADS = ('language_model', 'detector', 'panoptic_fusion_head')


def check_classes(model: nn.Module, datasets: Mapping[str, object], trained_on: Sequence[str] | None = None) -> None:
    """Compare the classes of the heads, of the data sets and of the checkpoint with each other, and read the labels.

    Args:
        model: A classifier or a detector, without a wrapper. Heads that do not say how many classes they have are not
            compared, nor are models with one of ``OTHER_HEADS``.
        datasets: Each data set by the key of the config that it was built from. Those that name no classes in their
            ``metainfo`` are not compared.
        trained_on: The names of the classes that the checkpoint was trained on, where there is one that says so.

    Raises:
        UserError: One line that names both sides, and what to set.

    Example:
        >>> model = nn.Module()
        >>> model.head = nn.Module()
        >>> model.head.num_classes = 3
        >>> data = type('Data', (list,), {'metainfo': {'classes': ('circle', 'square')}})
        >>> check_classes(model, {'train_dataloader.dataset': data([0])})
        Traceback (most recent call last):
        mmasl.errors.UserError: model.head.num_classes is 3, but train_dataloader.dataset has 2 classes (circle, ...
    """
    named = {'the checkpoint': tuple(trained_on)} if trained_on else {}
    for key, dataset in datasets.items():
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        if isinstance(classes, str):
            raise UserError(
                f"{key}: its classes are the string {classes!r}, each letter a class; write a tuple: ('{classes}',)"
            )
        if len(dataset) == 0:
            raise UserError(f'{key}: it has no picture{"" if classes is None else f" with one of {shown(classes)}"}')
        if classes is not None:
            named[key] = tuple(classes)
    if any(hasattr(model, part) for part in OTHER_HEADS):
        return
    for (key, classes), (other, others) in zip(list(named.items())[1:], named.items(), strict=False):
        check_same(key, classes, other, others)
    counts = dict(class_counts(model))
    for key, classes in named.items():
        wrong = [name for name, number in counts.items() if number != len(classes)]
        if wrong:
            options = ' '.join(f'{name}={len(classes)}' for name in wrong)
            raise UserError(
                f'{wrong[0]} is {counts[wrong[0]]}, but {key} has {len(classes)} classes ({shown(classes)}): '
                f'--cfg-options {options}, or other classes in its metainfo'
            )
    number = counts.get('model.head.num_classes')
    for key, dataset in datasets.items() if number else ():
        check_labels(key, dataset, number)


def check_same(key: str, classes: tuple[str, ...], other: str, others: tuple[str, ...]) -> None:
    """Raise where two data sets have other classes, or another order, since labels are compared by their index."""
    for index, (mine, yours) in enumerate(zip(classes, others, strict=False)):
        if mine != yours:
            hint = did_you_mean(mine, set(others) - set(classes))
            raise UserError(
                f"class {index} is '{mine}' in {key} and '{yours}' in {other}{hint}; labels are compared by their "
                'index, so both need the same classes in the same order: set metainfo=dict(classes=(...)) in both'
            )
    if len(classes) != len(others):
        longer, shorter = (classes, others) if len(classes) > len(others) else (others, classes)
        raise UserError(
            f'{key} has {len(classes)} classes and {other} has {len(others)}: {shown(longer[len(shorter) :])} is '
            'in one of them only; set metainfo=dict(classes=(...)) in both'
        )


def class_counts(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the config keys that say how many classes a head has, with their values."""
    for name, module in model.named_modules():
        # A region proposal network tells objects from background, whatever their class is.
        proposes = any('RPN' in cls.__name__ for cls in type(module).__mro__)
        number = getattr(module, 'num_classes', None)
        if isinstance(number, int) and not proposes and (name == 'head' or hasattr(module, 'loss_cls')):
            yield f'model.{name}.num_classes', number
    number = getattr(getattr(model, 'data_preprocessor', None), 'num_classes', None)
    if isinstance(number, int) and hasattr(model, 'head'):
        yield 'model.data_preprocessor.num_classes', number


def check_labels(key: str, dataset, num_classes: int) -> None:
    """Raise where a picture of a classifier has a label that is no class, or one twice, or where none has any."""
    found = [has_label(key, part, num_classes) for part in innermost(dataset)]  # all of them are checked
    if not any(found):
        raise UserError(f'{key}: none of its {len(dataset)} pictures has a label')


def innermost(dataset) -> Iterator:
    """Yield the data sets that ``dataset`` wraps, or itself."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
    else:
        for part in inner:
            yield from innermost(part)


def has_label(key: str, dataset, num_classes: int) -> bool:
    """Check the labels of one data set, and return whether it has any or does not tell.

    Data sets of this package read names, so that their labels are classes; of those only the first label is looked for.
    """
    ours, found = type(dataset).__module__.startswith('mmasl.'), False
    for index in range(len(dataset)):
        try:
            labels = list(dataset.get_cat_ids(index))
        except (AttributeError, NotImplementedError, KeyError, TypeError):
            return True
        found = found or bool(labels)
        if ours and found:
            return True
        wrong = [label for label in labels if not (isinstance(label, Integral) and 0 <= label < num_classes)]
        if wrong or len(set(labels)) != len(labels):
            what = f'the label {wrong[0]!r}' if wrong else f'the labels {labels}, one of them twice'
            raise UserError(
                f'{key}: {dataset.get_data_info(index).get("img_path", f"picture {index}")} has {what}; expected '
                f'different indices of classes, integers from 0 to {num_classes - 1}'
            )
    return found


def shown(names: Sequence[str]) -> str:
    """Return the first few ``names``."""
    return ', '.join(map(str, names[:5])) + (', ...' if len(names) > 5 else '')
