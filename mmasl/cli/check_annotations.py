"""Checks that the annotation files of MMDetection's data sets are complete and have the classes of the config.

MMDetection's ``CocoDataset`` takes the labels from the order of the categories in the file and ignores the order of
``metainfo.classes``. It drops classes that the file does not have, which shifts the labels of later classes, and it
raises ``KeyError`` if an entry lacks a key. ``CocoMetric`` reads a file of its own in the same way. The data sets of
this package check their files while they read them.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from mmengine.fileio import load

from mmasl.datasets.annotation_files import brief, check_names, read_coco, read_voc
from mmasl.errors import UserError, did_you_mean


def check_annotations(dataset: Callable, node: dict, key: str) -> str | None:
    """Check the annotation file of a data set if MMDetection's reader for COCO or Pascal VOC reads it.

    Args:
        dataset: The class of the data set.
        node: Its dict in the config; its files exist.
        key: The key of the data set in the config.

    Returns:
        A line about the objects that are left out, or None.

    Raises:
        UserError: One line with the file and the entry, or with the classes of both sides.
    """
    reader, classes = reader_of(dataset), classes_of(dataset, node)
    if isinstance(classes, str):
        if os.path.isfile(classes):
            return None  # a file with their names
        where = 'classes' if node.get('classes') == classes else 'metainfo.classes'
        raise UserError(f"{key}.{where} is the string {classes!r}; write a tuple: ('{classes}',)")
    if reader not in ('BaseDataset', 'CocoDataset', 'XMLDataset') or not node.get('ann_file'):
        return None
    prefix, root = node.get('data_prefix') or {}, node.get('data_root') or ''
    file = os.path.join(root, node['ann_file'])
    if reader == 'BaseDataset':
        content = read_own(file)
        check_own_classes(file, content['metainfo'].get('classes') or (), classes or (), key)
        if dataset.__name__ == 'MultiLabelDataset':
            check_own_labels(file, content['data_list'], key)
        return None
    if reader == 'CocoDataset':
        return check_coco(file, os.path.join(root, prefix.get('img', '')), classes or (), key)
    # MMDetection adds data_root to the entries of data_prefix only.
    folder = os.path.join(root, prefix['sub_data_root']) if 'sub_data_root' in prefix else ''
    annotations = os.path.join(folder, node.get('ann_subdir', 'Annotations'))
    return check_voc(file, annotations, os.path.join(folder, node.get('img_subdir', 'JPEGImages')), classes or ())


def reader_of(dataset: Callable) -> str:
    """Return the name of the class that defines how ``dataset`` reads its annotations."""
    return getattr(getattr(dataset, 'load_data_list', None), '__qualname__', '').split('.')[0]


def classes_of(dataset: Callable, node: dict) -> Sequence[str] | None:
    """Return the names of the classes in the config of a data set, or its default."""
    # The argument ``classes`` of MMPretrain's data sets means the same; other data sets may have another one.
    named = node.get('classes') if hasattr(dataset, '_compat_classes') else None
    return (node.get('metainfo') or {}).get('classes') or named or getattr(dataset, 'METAINFO', {}).get('classes')


def read_own(file: str) -> dict:
    """Return the content of a ``file`` in OpenMMLab's own format."""
    try:
        content = load(file)
    except (TypeError, ValueError) as error:
        raise UserError(f'{file} cannot be read: {error}') from error
    if not isinstance(content, dict) or not {'metainfo', 'data_list'} <= content.keys():
        raise UserError(f'{file} is not a file of OpenMMLab: expected a dict with metainfo and data_list')
    return content


def check_own_classes(file: str, written: Sequence[str], classes: Sequence[str], key: str) -> None:
    """Raise if ``classes`` would rename the labels in OpenMMLab's ``file``, which are indices of those ``written``."""
    moved = [name for name in written if name in classes and classes.index(name) != written.index(name)]
    if written and classes and (moved or len(written) != len(classes)):
        raise UserError(
            f'{key}: the labels in {file} are indices of its own metainfo.classes ({", ".join(written)}), but the '
            f'config has the classes {", ".join(classes)}; leave them out of the config, or give both the same'
        )


def check_own_labels(file: str, pictures: Sequence[dict], key: str) -> None:
    """Raise if one of the ``pictures`` has no labels; a test set may have none at all, since it can be predicted."""
    without = [i for i, picture in enumerate(pictures) if picture.get('gt_label', picture.get('gt_score')) is None]
    if without and not (key.startswith('test_') and len(without) == len(pictures)):
        raise UserError(
            f'{file}: data_list[{without[0]}] ({brief(pictures[without[0]])}) has no gt_label; write the indices of '
            'its classes there, [] if it has none'
        )


def check_coco(file: str, folder: str, classes: Sequence[str], key: str) -> str | None:
    """Check a COCO file, whose pictures are in ``folder``, against ``classes``; see :func:`check_annotations`."""
    content = read_coco(file, images=('height', 'width'), annotations=('id', 'bbox', 'area'))
    names = {category['id']: category['name'] for category in content['categories']}
    counts = Counter(names[annotation['category_id']] for annotation in content['annotations'])
    left_out = check_names(file, {name: counts[name] for name in names.values()}, classes)
    check_categories(file, list(names.values()), classes, key)
    if not content['images']:
        raise UserError(f'{file}: it has no picture')
    for number, image in enumerate(content['images']):
        if '\\' in image['file_name']:
            raise UserError(f'{file}: images[{number}] has a backslash in its file_name, {image["file_name"]}; write /')
    first = os.path.join(folder, content['images'][0]['file_name'])
    if '://' not in first and not os.path.exists(first):
        raise UserError(f'{file}: the first picture, {first}, does not exist; {key}.data_prefix.img names its folder')
    return left_out


def check_categories(file: str, names: Sequence[str], classes: Sequence[str], key: str) -> None:
    """Raise if ``names``, the categories in ``file``, lack one of the ``classes`` or have them in another order."""
    missing = [name for name in classes if name not in names]
    if missing:
        raise UserError(
            f"{key}: class '{missing[0]}' is none of the categories of {file} ({', '.join(names)})"
            f'{did_you_mean(missing[0], set(names) - set(classes))}; set metainfo=dict(classes=(...))'
        )
    in_file = [name for name in names if name in classes]
    if in_file != list(classes):
        raise UserError(
            f'{key}: MMDetection numbers the classes as {file} lists its categories ({", ".join(in_file)}), but '
            f'metainfo.classes has another order ({", ".join(classes)}); give both the same'
        )


def check_evaluator(file: str, key: str, data: Sequence[tuple[Callable, dict, str]]) -> None:
    """Check the ``file`` of the COCO metric at ``key`` of the config.

    Args:
        file: A COCO file, which exists.
        key: The key of the metric in the config.
        data: The class, the dict and the key of each data set that the metric evaluates.

    Raises:
        UserError: One line, if the file cannot be read, has not the classes of the data in their order, or lacks one of
            the pictures.
    """
    content = read_coco(file, annotations=('id', 'bbox', 'area', 'iscrowd'))
    for dataset, node, _ in data:
        classes = classes_of(dataset, node)
        if not isinstance(classes, str):
            check_categories(file, [category['name'] for category in content['categories']], classes or (), key)
        own = os.path.join(node.get('data_root') or '', node.get('ann_file') or '')
        if reader_of(dataset) != 'CocoDataset' or os.path.realpath(own) == os.path.realpath(file):
            continue
        missing = {image['id'] for image in read_coco(own)['images']} - {image['id'] for image in content['images']}
        if missing:
            raise UserError(
                f'{key}: {file} has no picture with the id {min(missing, key=str)!r}, which {own} has; write '
                f'ann_file={own!r} there'
            )


def check_voc(file: str, annotations: str, pictures: str, classes: Sequence[str]) -> str | None:
    """Check an image set of Pascal VOC, whose files are in two folders; see :func:`check_annotations`."""
    with open(file, encoding='utf-8') as opened:
        lines = [line.rstrip('\r\n') for line in opened]  # MMDetection keeps blanks
    if not lines:
        raise UserError(f'{file}: it has no picture')
    found = Counter()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f'{file}, line {number}: it is blank; take it out')
        path, picture = os.path.join(annotations, f'{line}.xml'), os.path.join(pictures, f'{line}.jpg')
        for part in (path, picture):
            if not os.path.exists(part):
                raise UserError(
                    f'{file}, line {number}: {part} does not exist; data_prefix.sub_data_root names its folder'
                )
        content = read_voc(path)
        found.update(item.findtext('name') for item in content.findall('object'))
        check_voc_numbers(path, content, classes)
    return check_names(file, found, classes)


def check_voc_numbers(path: str, content: Element, classes: Sequence[str]) -> None:
    """Raise if an XML file has no number where MMDetection reads one."""
    size = content.find('size')
    numbers = [('it', part, size.findtext(part)) for part in ('width', 'height')] if size is not None else []
    for item in content.findall('object'):
        name = item.findtext('name')
        if name in classes:
            what = f"object '{name}'"
            numbers += [(what, part, item.findtext(f'bndbox/{part}')) for part in ('xmin', 'ymin', 'xmax', 'ymax')]
            if not item.findtext('difficult', '0').strip().isdigit():
                raise UserError(f'{path}: {what} has {item.findtext("difficult")!r} as <difficult>; expected 0 or 1')
    for what, part, text in numbers:
        try:
            float(text or '')
        except ValueError:
            raise UserError(f'{path}: {what} has {text!r} as <{part}>; expected a number') from None
