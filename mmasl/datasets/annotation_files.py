"""Readers of COCO's JSON files and Pascal VOC's XML files, whose errors name the file and the entry."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from mmengine.fileio import get

from mmasl.errors import DataError, did_you_mean, first_names

# Outlines make up nine tenths of a file and of the time and memory that parsing takes. A JSON string cannot contain
# this key with unescaped quotes, so the expression removes outlines only.
_OUTLINE = re.compile(rb'"segmentation":\s*(?:\[(?:\[[^\]]*\][,\s]*)*\]|\{[^{}]*\})')
_NEEDED = {
    'categories': ('id', 'name'),
    'images': ('id', 'file_name'),
    'annotations': ('image_id', 'category_id'),
}
_NUMBERS = {'height': 1, 'width': 1, 'area': 1, 'bbox': 4}


def read_coco(file: str, **needed: Sequence[str]) -> dict[str, list[dict]]:
    """Return the ``categories``, ``images`` and ``annotations`` of a COCO file, without the outlines of the objects.

    Args:
        file: Path of the file.
        **needed: For each section, additional keys that its entries must have.

    Raises:
        DataError: If the file is not JSON or lacks a section, an entry lacks a key or has no numbers where they belong,
            two entries have the same id, two categories have the same name, or an annotation refers to a category or an
            image that is not listed.
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
            missing = sorted(key for key in wanted if entry.get(key) is None)
            if missing:
                raise DataError(f'{file}: {section}[{number}] ({brief(entry)}) has no {", ".join(missing)}')
            for key in wanted & _NUMBERS.keys():
                values = entry[key] if isinstance(entry[key], list) else [entry[key]]
                if len(values) != _NUMBERS[key] or not all(type(value) in (int, float) for value in values):
                    few = 'a number' if _NUMBERS[key] == 1 else f'{_NUMBERS[key]} numbers'
                    raise DataError(
                        f'{file}: {section}[{number}] ({brief(entry)}) has {entry[key]!r} as {key}; expected {few}'
                    )
        ids = Counter(entry['id'] for entry in content[section]) if 'id' in wanted else Counter()
        twice = [id_ for id_, count in ids.items() if count > 1]
        if twice:
            raise DataError(f'{file}: {ids[twice[0]]} {section} have the id {twice[0]!r}; each needs its own')
    twice = [name for name, count in Counter(c['name'] for c in content['categories']).items() if count > 1]
    if twice:
        ids = [c['id'] for c in content['categories'] if c['name'] == twice[0]]
        raise DataError(f"{file}: the categories {ids} have one name, '{twice[0]}'; each needs its own")
    for section, key in (('categories', 'category_id'), ('images', 'image_id')):
        listed = {entry['id'] for entry in content[section]}
        for number, annotation in enumerate(content['annotations']):
            if annotation[key] not in listed:
                raise DataError(
                    f'{file}: annotations[{number}] ({brief(annotation)}) has the {key} {annotation[key]!r}, which is '
                    f'not the id of one of its {section}'
                )
    return content


def read_voc(file: str) -> ElementTree.Element:
    """Return the content of an XML file of Pascal VOC, in which each ``object`` has a ``name``.

    Raises:
        DataError: If the file is not XML or an object has no name.
    """
    try:
        content = ElementTree.fromstring(get(file))
    except ElementTree.ParseError as error:
        raise DataError(f'{file} is not an XML file: {error}') from error
    for number, item in enumerate(content.findall('object')):
        if not item.findtext('name'):
            raise DataError(f'{file}: object {number} has no name')
    return content


def check_names(file: str, found: Mapping[str, int], classes: Sequence[str]) -> str | None:
    """Compare the names of the objects in ``file`` with the ``classes``.

    Args:
        file: Name of the file in the messages.
        found: Number of objects for each name.
        classes: Names of the classes.

    Returns:
        A line that lists the names that are not classes, with a question if a class without an object has a similar
        name. None if all names are classes.

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
    known = {plain(name): name for name in classes}
    for name in others:
        meant = known.get(plain(name))
        if meant:
            raise DataError(f"{file}: '{name}' is no class, but '{meant}' is; they need the same spelling")
    if found and len(others) == len(found):
        raise DataError(
            f'{file}: none of its names is one of the {len(classes)} classes ({first_names(classes)}); to take its '
            f'own: metainfo=dict(classes=({", ".join(map(repr, found))},))'
        )
    unused = [name for name in classes if not found.get(name)]
    listed = ', '.join(
        f"'{name}' ({count}){did_you_mean(name, unused)}" for name, count in sorted(others.items()) if count
    )
    return f'{file}: names that are not classes are left out: {listed}' if listed else None


def check_spelling(file: str, names: Sequence[str]) -> None:
    """Raise if two of the ``names`` in ``file`` differ only in case, blanks, hyphens or underscores."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(plain(name), name)
        if other != name:
            raise DataError(f"{file}: '{other}' and '{name}' need the same spelling; if both are classes, set classes")


def plain(name: str) -> str:
    """Return ``name`` in lower case and without blanks, hyphens and underscores."""
    return re.sub(r'[\s_-]', '', name).lower()


def brief(entry: dict) -> str:
    """Return the strings and integers of ``entry``, by which a user can find it in the file."""
    return ', '.join(f'{key} {value!r}' for key, value in entry.items() if isinstance(value, str | int))[:80]
