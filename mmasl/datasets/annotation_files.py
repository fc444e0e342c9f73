"""Readers of COCO's JSON files and Pascal VOC's XML files, whose errors name the file and the entry."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from mmengine.fileio import get

from mmasl.errors import DataError

# Outlines make up nine tenths of a file and of the time and memory that parsing takes. A JSON string cannot contain
# this key with unescaped quotes, so the expression removes outlines only.
_OUTLINE = re.compile(rb'"segmentation":\s*(?:\[(?:\[[^\]]*\][,\s]*)*\]|\{[^{}]*\})')
_NEEDED = {
    'categories': ('id', 'name'),
    'images': ('id', 'file_name'),
    'annotations': ('image_id', 'category_id'),
}


def read_coco(file: str, **needed: Sequence[str]) -> dict[str, list[dict]]:
    """Return the ``categories``, ``images`` and ``annotations`` of a COCO file, without the outlines of the objects.

    Args:
        file: Path of the file.
        **needed: For each section, additional keys that its entries must have.

    Raises:
        DataError: If the file is not JSON or lacks a section, an entry lacks a key, two categories have the same name,
            or an annotation refers to a category or an image that is not listed.
    """
    try:
        content = json.loads(_OUTLINE.sub(b'"segmentation": 0', get(file)))
    except ValueError as error:
        raise DataError(f'{file} is not a JSON file: {error}') from error
    if not isinstance(content, dict) or not {'images', 'categories'} <= content.keys():
        raise DataError(f'{file} is not a COCO file: expected a dict with images, annotations and categories')
    content.setdefault('annotations', [])  # test sets are published without annotations
    for section, keys in _NEEDED.items():
        wanted = {*keys, *needed.get(section, ())}
        for number, entry in enumerate(content[section]):
            if not wanted <= entry.keys():
                missing = ', '.join(sorted(wanted - entry.keys()))
                raise DataError(f'{file}: {section}[{number}] ({shown(entry)}) has no {missing}')
    twice = [name for name, count in Counter(c['name'] for c in content['categories']).items() if count > 1]
    if twice:
        ids = [c['id'] for c in content['categories'] if c['name'] == twice[0]]
        raise DataError(f"{file}: the categories {ids} have one name, '{twice[0]}'; each needs its own")
    for section, key in (('categories', 'category_id'), ('images', 'image_id')):
        listed = {entry['id'] for entry in content[section]}
        for number, annotation in enumerate(content['annotations']):
            if annotation[key] not in listed:
                raise DataError(
                    f'{file}: annotations[{number}] ({shown(annotation)}) has the {key} {annotation[key]!r}, which is '
                    f'not the id of one of its {section}'
                )
    return content


def read_voc(file: str) -> list[tuple[str, str | None]]:
    """Return the name of each object in an XML file of Pascal VOC, with the text of its ``<difficult>``.

    Raises:
        DataError: If the file is not XML or an object has no name.
    """
    try:
        objects = ElementTree.fromstring(get(file)).findall('object')
    except ElementTree.ParseError as error:
        raise DataError(f'{file} is not an XML file: {error}') from error
    for number, item in enumerate(objects):
        if not item.findtext('name'):
            raise DataError(f'{file}: object {number} has no name')
    return [(item.findtext('name'), item.findtext('difficult')) for item in objects]


def check_names(file: str, found: Mapping[str, int], classes: Sequence[str]) -> str | None:
    """Compare the names of the objects in ``file`` with the ``classes``.

    Args:
        file: Name of the file in the messages.
        found: Number of objects for each name.
        classes: Names of the classes.

    Returns:
        A line that lists the names that are not classes, or None if all of them are.

    Raises:
        DataError: If none of the names is a class, or if a name differs from a class only in case, blanks, hyphens or
            underscores.

    Example:
        >>> check_names('train', {'dog': 3, 'zebra': 1}, ('cat', 'dog'))
        "train: names that are not classes are left out: 'zebra' (1)"
        >>> check_names('train', {'dog': 3, 'Cat': 1}, ('cat', 'dog'))
        Traceback (most recent call last):
        mmasl.errors.DataError: train: 'Cat' is no class, but 'cat' is; they need the same spelling
    """
    others = {name: count for name, count in found.items() if name not in classes}
    plain = {re.sub(r'[\s_-]', '', name).lower(): name for name in classes}
    for name in others:
        meant = plain.get(re.sub(r'[\s_-]', '', name).lower())
        if meant:
            raise DataError(f"{file}: '{name}' is no class, but '{meant}' is; they need the same spelling")
    if found and len(others) == len(found):
        few, more = ', '.join(map(str, classes[:5])), ', ...' if len(classes) > 5 else ''
        raise DataError(
            f'{file}: none of its names is one of the {len(classes)} classes ({few}{more}); to take its own: '
            f'metainfo=dict(classes=({", ".join(map(repr, found))},))'
        )
    listed = ', '.join(f"'{name}' ({count})" for name, count in sorted(others.items()) if count)
    return f'{file}: names that are not classes are left out: {listed}' if listed else None


def shown(entry: dict) -> str:
    """Return the strings and integers of ``entry``, by which a user can find it in the file."""
    return ', '.join(f'{key} {value!r}' for key, value in entry.items() if isinstance(value, str | int))[:80]
