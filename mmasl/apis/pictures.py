"""What both kinds of inference share: which inputs there are, and what is said of one that cannot be read."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np

SUFFIXES = ('.bmp', '.jfif', '.jpe', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')


def list_pictures(inputs) -> list:
    """Return the single inputs: the pictures in a folder and its subfolders, sorted; anything else as it is.

    A file in a folder is a picture by its suffix. A warning says which others there are.

    Args:
        inputs: A path of a picture or a folder, an array, or a list of these.

    Raises:
        ValueError: For a folder without a picture.
    """
    if isinstance(inputs, list | tuple):
        return [single for entry in inputs for single in list_pictures(entry)]
    if not isinstance(inputs, str | Path):
        return [inputs]
    if not Path(inputs).is_dir():
        return [str(inputs)]  # upstream takes no Path
    files = [path for path in Path(inputs).rglob('*') if path.is_file()]
    found = sorted(str(path) for path in files if path.suffix.lower() in SUFFIXES)
    others = Counter(path.suffix.lower() or 'no suffix' for path in files if path.suffix.lower() not in SUFFIXES)
    listed = ', '.join(f'{suffix} ({count})' for suffix, count in sorted(others.items()))
    if not found:
        there = f', but {listed}' if others else ''
        raise ValueError(f'{inputs}: expected a folder with pictures ({", ".join(SUFFIXES)}), found none{there}')
    if others:
        warnings.warn(f'{inputs}: left out, as they are no pictures by their suffix: {listed}', stacklevel=2)
    return found


def load_picture(source) -> np.ndarray:
    """Return a picture as mmcv loads it: ``(H, W, 3)``, uint8, BGR, turned as its EXIF data say.

    Args:
        source: A path, or an array that is such a picture already.

    Raises:
        ValueError: For a file that is no whole picture, or another array; the message has the reason.
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
    except cv2.error:  # of an empty file
        picture = None
    if picture is None:
        raise ValueError(f'it is no whole picture ({path.stat().st_size:,} bytes)')
    return picture


def batched(entries: Sequence, size: int) -> Iterator[Sequence]:
    """Yield ``entries`` in slices of ``size``."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def drawing_folder(show_dir: str, name: str, drawn: Counter) -> str:
    """Make and return the folder to draw ``name`` in: ``show_dir``, or a numbered one in it for a name drawn before.

    Upstream's drawings are called as their pictures, in whichever folders those are: they would replace each other.
    """
    drawn[name] += 1
    folder = Path(show_dir, str(drawn[name]) if drawn[name] > 1 else '')
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
