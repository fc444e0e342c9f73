"""Checks that the annotation files of MMDetection's data sets are complete and have the classes of the config.

MMDetection's ``CocoDataset`` takes the labels from the order of the categories in the file and ignores the order of
``metainfo.classes``. It drops classes that the file does not have, which shifts the labels of later classes, and it
raises ``KeyError`` if an entry lacks a key. The data sets of this package check their files while they read them.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence

from mmasl.datasets.annotation_files import check_names, read_coco, read_voc
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
    reader = getattr(getattr(dataset, 'load_data_list', None), '__qualname__', '').split('.')[0]
    classes = (node.get('metainfo') or {}).get('classes') or dataset.METAINFO.get('classes')
    if reader not in ('CocoDataset', 'XMLDataset') or not node.get('ann_file'):
        return None
    if isinstance(classes, str):
        if os.path.isfile(classes):
            return None  # a file with their names
        raise UserError(f"{key}.metainfo.classes is the string {classes!r}; write a tuple: ('{classes}',)")
    prefix, root = node.get('data_prefix') or {}, node.get('data_root') or ''
    file = os.path.join(root, node['ann_file'])
    if reader == 'CocoDataset':
        return check_coco(file, os.path.join(root, prefix.get('img', '')), classes or (), key)
    folder = os.path.join(root, prefix.get('sub_data_root', ''), node.get('ann_subdir', 'Annotations'))
    return check_voc(file, folder, classes or (), key)


def check_coco(file: str, folder: str, classes: Sequence[str], key: str) -> str | None:
    """Check a COCO file, whose pictures are in ``folder``, against ``classes``; see :func:`check_annotations`."""
    content = read_coco(file, images=('height', 'width'), annotations=('id', 'bbox', 'area'))
    name_of = {category['id']: category['name'] for category in content['categories']}
    counts = Counter(name_of[annotation['category_id']] for annotation in content['annotations'])
    left_out = check_names(file, {name: counts[name] for name in name_of.values()}, classes)
    missing = [name for name in classes if name not in name_of.values()]
    if missing:
        raise UserError(
            f"{key}: class '{missing[0]}' is none of the categories of {file} ({', '.join(name_of.values())})"
            f'{did_you_mean(missing[0], set(name_of.values()) - set(classes))}; set metainfo=dict(classes=(...))'
        )
    in_file = [name for name in name_of.values() if name in classes]
    if in_file != list(classes):
        raise UserError(
            f'{key}: MMDetection numbers the classes as {file} lists its categories ({", ".join(in_file)}), but '
            f'metainfo.classes has another order ({", ".join(classes)}); give both the same'
        )
    for number, image in enumerate(content['images']):
        if '\\' in image['file_name']:
            raise UserError(f'{file}: images[{number}] has a backslash in its file_name, {image["file_name"]}; write /')
    first = os.path.join(folder, content['images'][0]['file_name']) if content['images'] else folder
    if '://' not in first and not os.path.exists(first):
        raise UserError(f'{file}: the first picture, {first}, does not exist; {key}.data_prefix.img names its folder')
    return left_out


def check_voc(file: str, folder: str, classes: Sequence[str], key: str) -> str | None:
    """Check an image set of Pascal VOC, whose XML files are in ``folder``; see :func:`check_annotations`."""
    found = Counter()
    with open(file, encoding='utf-8') as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                raise UserError(f'{file}, line {number}: it is blank; take it out')
            path = os.path.join(folder, f'{line.strip()}.xml')
            if not os.path.exists(path):
                raise UserError(f'{file}, line {number}: {path} does not exist')
            for name, difficult in read_voc(path):
                found[name] += 1
                if difficult is not None and not difficult.strip().isdigit():
                    raise UserError(f"{path}: object '{name}' has {difficult!r} as <difficult>; expected 0 or 1")
    return check_names(file, found, classes)
