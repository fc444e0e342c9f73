"""Tiny data sets in the on-disk formats of the published ones, with real JPEGs, for tests and for trying a config.

``formats.py`` shows the folders of each. The bytes that are written depend on :class:`Size` only.
"""

import json
import os
from pathlib import Path

from mmasl.datasets.miniatures.formats import WRITERS
from mmasl.datasets.miniatures.scenes import Size
from mmasl.files import atomic_folder

__all__ = ['DEFAULT_SIZE', 'NAMES', 'Size', 'make_miniature']

NAMES = tuple(WRITERS)
DEFAULT_SIZE = Size()
_RECORD = 'miniature.json'


def make_miniature(name: str, out: str | os.PathLike, size: Size = DEFAULT_SIZE, overwrite: bool = False) -> Path:
    """Write the miniature ``name`` into the folder ``out``; if it fails, nothing is written.

    Args:
        name: One of ``NAMES``.
        out: Folder that is empty or does not exist. A file ``miniature.json`` in it records its contents.
        size: Number of images, their size and their seed.
        overwrite: Replace an earlier miniature in ``out``. A folder with other contents is still refused.

    Returns:
        ``out``.

    Raises:
        ValueError: For an unknown name, a size that is too small, or an ``out`` that may not be replaced.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / 'coco'
        >>> sorted(path.name for path in make_miniature('coco', folder, Size(train=2, val=1)).iterdir())
        ['annotations', 'miniature.json', 'train2014', 'train2017', 'val2014', 'val2017']
    """
    if name not in NAMES:
        raise ValueError(f'name: expected one of {", ".join(NAMES)}, got {name!r}')
    if min(size.train, size.val, size.test) < 1 or size.side < 32:
        raise ValueError(f'size: expected at least 1 image in each split and a side of 32 pixels, got {size}')
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / _RECORD).is_file():
            raise ValueError(f'{out}: expected an empty folder or none, and it is not a miniature; choose another one')
        if not overwrite:
            raise ValueError(f'{out}: there is a miniature already; --overwrite replaces it')
    with atomic_folder(out) as folder:
        WRITERS[name](folder, size)
        (folder / _RECORD).write_text(json.dumps({'name': name, **size._asdict()}) + '\n', encoding='utf-8')
    return out
