"""Shared parts of classification and detection: listing, loading and drawing of pictures."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np

SUFFIXES = ('.bmp', '.jfif', '.jpe', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')


def list_pictures(inputs) -> list:
    """Return a list of the single inputs, where a folder stands for the sorted pictures in it and its subfolders.

    The suffix decides whether a file in a folder is a picture. A warning lists the other files.

    Args:
        inputs: The path of a picture or a folder, an array, or a list of these.

    Raises:
        ValueError: For a folder without pictures.
    """
    if isinstance(inputs, list | tuple):
        return [single for entry in inputs for single in list_pictures(entry)]
    if not isinstance(inputs, str | Path):
        return [inputs]
    if not Path(inputs).is_dir():
        return [str(inputs)]  # the inferencers accept no Path
    files = [path for path in Path(inputs).rglob('*') if path.is_file()]
    found = sorted(str(path) for path in files if path.suffix.lower() in SUFFIXES)
    others = Counter(path.suffix.lower() or 'no suffix' for path in files if path.suffix.lower() not in SUFFIXES)
    listed = ', '.join(f'{suffix} ({count})' for suffix, count in sorted(others.items()))
    if not found:
        there = f', but {listed}' if others else ''
        raise ValueError(f'{inputs}: expected a folder with pictures ({", ".join(SUFFIXES)}), found none{there}')
    if others:
        warnings.warn(f'{inputs}: files without the suffix of a picture are left out: {listed}', stacklevel=2)
    return found


def load_picture(source) -> np.ndarray:
    """Return a picture as mmcv loads it: ``(H, W, 3)``, uint8, BGR, rotated according to its EXIF data.

    Args:
        source: A path, or an array of this form.

    Raises:
        ValueError: For a file that is not a complete picture, or an array of another form; the message has the reason.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise ValueError(f'expected an array (H, W, 3) of uint8, BGR, got {source.shape} of {source.dtype}')
        return source
    path = Path(source)
    if not path.is_file():
        raise ValueError('no such file')
    try:
        picture = mmcv.imread(path)
    except cv2.error:  # raised for an empty file
        picture = None
    if picture is None:
        raise ValueError(f'it is not a complete picture ({path.stat().st_size:,} bytes)')
    return picture


def batched(entries: Sequence, size: int) -> Iterator[Sequence]:
    """Yield ``entries`` in slices of ``size``."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def drawing_folder(show_dir: str, name: str, drawn: Counter) -> str:
    """Make and return the folder for the drawing of ``name``: ``show_dir``, or a numbered subfolder if it is repeated.

    OpenMMLab names a drawing after its picture, so pictures with the same name in different folders would otherwise
    replace each other.
    """
    drawn[name] += 1
    folder = Path(show_dir, str(drawn[name]) if drawn[name] > 1 else '')
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
