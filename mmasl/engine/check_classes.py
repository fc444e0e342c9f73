"""Checks that the heads of a model and its data sets have the same classes in the same order."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmasl.engine.check_model import check_ignores, is_multi_label
from mmasl.errors import UserError, did_you_mean, first_names

# MMDetection's models with one of these parts have heads for other classes than the data on purpose: detectors that
# read the names of the classes as text, trackers that detect one of many classes, and panoptic models.
OTHER_HEADS = ('language_model', 'detector', 'panoptic_fusion_head')
MOST_SCORES = 1000  # samples of a data set whose gt_score is read, evenly spaced


def check_classes(model: nn.Module, datasets: Mapping[str, object], trained_on: Sequence[str] | None = None) -> None:
    """Compare the classes of the heads, the data sets and the checkpoint with each other, and check the labels.

    Args:
        model: A classifier or a detector without a wrapper. The function skips heads without a number of classes, and
            models with one of ``OTHER_HEADS``.
        datasets: Each data set by the key of the config from which it was built. The function skips those without
            names of classes in their ``metainfo``.
        trained_on: The names of the classes on which the checkpoint was trained, if they are known.

    Raises:
        UserError: If two of them differ, or a label is invalid. The message is one line that names both sides and
            what to set.

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
    for key, classes, dataset in all_classes(datasets):
        if isinstance(classes, str):
            raise UserError(
                f"{key}: its classes are the string {classes!r}, so each letter is one; write a tuple: ('{classes}',)"
            )
        if len(dataset) == 0:
            raise UserError(
                f'{key}: it has no picture{"" if classes is None else f" with one of {first_names(classes)}"}'
            )
        if classes is not None:
            named[key] = tuple(classes)
            twice = [name for name, times in Counter(named[key]).items() if times > 1]
            if twice:
                raise UserError(f"{key}: its classes have '{twice[0]}' twice; each class needs a name of its own")
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
                f'{wrong[0]} is {counts[wrong[0]]}, but {key} has {len(classes)} classes ({first_names(classes)}): '
                f'write --cfg-options {options}, or set other classes in its metainfo'
            )
    check_scores(model, datasets)
    if not counts:
        return
    classes, of_classifier, largest = min(counts.values()), 'model.head.num_classes' in counts, -1
    for key, dataset in datasets.items():
        # A detector's test set may have been published without its boxes.
        needed = of_classifier or not key.startswith('test_')
        largest = max(largest, check_labels(key, dataset, classes, needed, unique=of_classifier))
    if not named and 0 <= largest < classes - 1:
        options = ' '.join(f'{name}={largest + 1}' for name in counts)
        print_log(
            f'{next(iter(counts))} is {classes}, but the largest label in {" and ".join(datasets)} is {largest}, and '
            f'they name no classes: write --cfg-options {options}, or name them all in metainfo=dict(classes=(...))',
            logger='current',
            level=logging.WARNING,
        )


def all_classes(datasets: Mapping[str, object]) -> Iterator[tuple[str, Sequence[str] | None, object]]:
    """Yield the key, the classes and the data set of each of ``datasets``, and of each part with a ``metainfo``."""
    for key, dataset in datasets.items():
        entries = metainfo_entries(getattr(dataset, 'metainfo', None))
        for number, entry in enumerate(entries, start=1):
            name = key if len(entries) == 1 else f'data set {number} of {key}'
            yield name, entry.get('classes'), dataset


def metainfo_entries(metainfo: Mapping | list[Mapping] | None) -> list[Mapping]:
    """Return ``metainfo`` as a list, which MMDetection's ConcatDataset has if its data sets differ in theirs."""
    return metainfo if isinstance(metainfo, list) else [metainfo or {}]


def check_same(key: str, classes: tuple[str, ...], other: str, others: tuple[str, ...]) -> None:
    """Raise if two data sets have different classes or another order, since labels are compared by their index."""
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
            f'{key} has {len(classes)} classes and {other} has {len(others)}: only one of them has '
            f'{first_names(longer[len(shorter) :])}; set metainfo=dict(classes=(...)) in both'
        )


def class_counts(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the config keys that set the number of classes of a head, with their values."""
    for name, module in model.named_modules():
        # A region proposal network tells objects of any class from background, and a semantic head has its own classes.
        other = re.search('backbone|semantic', name) or any('RPN' in cls.__name__ for cls in type(module).__mro__)
        number = getattr(module, 'num_classes', None)
        if isinstance(number, int) and not other and re.search(r'head[.\d]*$', name):
            yield f'model.{name}.num_classes', number
    number = getattr(getattr(model, 'data_preprocessor', None), 'num_classes', None)
    if isinstance(number, int) and hasattr(model, 'head'):
        yield 'model.data_preprocessor.num_classes', number


def check_labels(key: str, dataset, num_classes: int, needed: bool, unique: bool) -> int:
    """Raise if a label is not a class, a picture has a ``unique`` one twice, or none is there though one is ``needed``.

    The labels of a classifier's picture are unique; those of a detector are the classes of its boxes.

    Returns:
        The largest label, or -1 if there is none.
    """
    largest = max(largest_label(key, part, num_classes, unique) for part in innermost(dataset))
    if needed and largest < 0:
        raise UserError(f'{key}: none of its {len(dataset)} pictures has a label')
    return largest


def innermost(dataset) -> Iterator:
    """Yield the data sets that ``dataset`` wraps, or itself; of a config it yields configs."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
    else:
        for part in inner:
            yield from innermost(part)


def largest_label(key: str, dataset, num_classes: int, unique: bool) -> int:
    """Check the labels of one data set; return the largest, -1 if there is none, or the last class if it cannot tell.

    Data sets of this package and those with ``cat2label`` read names, so their labels are always classes, and one label
    is enough to know.
    """
    reads_names, largest = type(dataset).__module__.startswith('mmasl.') or hasattr(dataset, 'cat2label'), -1
    for index in range(len(dataset)):
        try:
            labels = list(dataset.get_cat_ids(index))
        except (AttributeError, NotImplementedError, KeyError, TypeError):
            return num_classes - 1
        if reads_names and labels:
            return num_classes - 1
        wrong = [label for label in labels if not (isinstance(label, Integral) and 0 <= label < num_classes)]
        if wrong or (unique and len(set(labels)) != len(labels)):
            what = f'the label {wrong[0]!r}' if wrong else f'the labels {labels}, with one of them twice'
            raise UserError(
                f'{key}: {dataset.get_data_info(index).get("img_path", f"picture {index}")} has {what}; expected '
                f'{"different " * unique}indices of classes, integers from 0 to {num_classes - 1}'
            )
        largest = max([largest, *labels])
    return largest


def check_scores(model: nn.Module, datasets: Mapping[str, object]) -> None:
    """Check the ``gt_score`` that multi-label heads read in place of ``gt_label``; on GPUs no loss checks it."""
    heads = [(name, module) for name, module in model.named_modules() if is_multi_label(module)]
    for name, head in heads:
        for key, dataset in datasets.items():
            ignored = [check_part_scores(key, part, getattr(head, 'num_classes', None)) for part in innermost(dataset)]
            if any(ignored) and key.startswith('train_'):
                check_ignores(head, name, key)


def check_part_scores(key: str, dataset, num_classes: int | None) -> bool:
    """Raise if a ``gt_score`` of one data set has another number than ``num_classes``, or is not -1 or in [0, 1].

    Returns:
        Whether there is a -1.
    """
    ignored = False
    for index in range(0, len(dataset), max(1, -(-len(dataset) // MOST_SCORES))):
        info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
        if info.get('gt_score') is None:
            break  # heads read either all samples by gt_score or none, and some data sets render what they return
        score = np.asarray(info['gt_score'], dtype=np.float64)
        picture = info.get('img_path', f'picture {index}')
        if num_classes is not None and score.shape != (num_classes,):
            raise UserError(
                f'{key}: {picture} has a gt_score of shape {score.shape}; expected ({num_classes},), a number per class'
            )
        wrong = np.argwhere(~((score == -1) | ((score >= 0) & (score <= 1))))
        if len(wrong):
            raise UserError(
                f'{key}: {picture} has {score[tuple(wrong[0])]:g} for class {wrong[0][-1]} in its gt_score; expected a '
                'number from 0 to 1, or -1 for a label that is not annotated'
            )
        ignored |= bool((score == -1).any())
    return ignored
