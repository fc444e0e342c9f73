"""Shared parts of the classes for published data sets: dense targets, and errors that name the missing file."""

from collections.abc import Iterable

import numpy as np
from mmengine.fileio import exists

from mmasl.errors import DataError, MissingFileError, did_you_mean


class Published:
    """Mixin for a data set of MMPretrain whose errors name the missing file and the place to get the data set from.

    The mixin stands before the data set in the list of bases. The tools also print ``how_to_get`` for a config whose
    ``data_root`` does not exist.
    """

    how_to_get = ''

    def full_init(self):
        """Load the annotations, and check that the first image exists, to detect a wrong folder.

        Raises:
            FileNotFoundError: If an annotation file or the first image does not exist.
        """
        if self._fully_initialized:
            return
        try:
            super().full_init()
        except FileNotFoundError as error:
            raise MissingFileError(self._message(error.filename or error, 'does not exist')) from error
        first = self.get_data_info(0)['img_path']
        if not exists(first):
            raise MissingFileError(self._message(first, 'is listed, but does not exist: data_prefix names its folder'))

    def filter_data(self):
        """Filter as MMPretrain does, after checking that there are images.

        Raises:
            ValueError: If there is no image.
        """
        if not len(self.data_list):
            raise DataError(f'{type(self).__name__}: no image with a label in {self.ann_file}')
        return super().filter_data()

    def prepare_data(self, idx):
        """Run the pipeline on image ``idx``.

        Raises:
            FileNotFoundError: If the image does not exist.
        """
        try:
            return super().prepare_data(idx)
        except FileNotFoundError as error:
            path = self.get_data_info(idx)['img_path']
            raise FileNotFoundError(self._message(path, 'is listed, but does not exist')) from error

    def _message(self, path, what: str) -> str:
        return f'{type(self).__name__}: {path} {what}' + (f'; get it from {self.how_to_get}' if self.how_to_get else '')


def class_index(names: Iterable[str], known: Iterable[str], file: str) -> dict[str, int]:
    """Return a dict from each of ``names`` to its label, which is its position.

    Raises:
        ValueError: If one of them is not among the ``known`` names of the annotation ``file``.

    Example:
        >>> class_index(('sky', 'cat'), ('cat', 'dog', 'sky'), 'labels.csv')
        {'sky': 0, 'cat': 1}
    """
    known = list(known)
    index = {name: label for label, name in enumerate(names)}
    for name in index.keys() - set(known):
        raise DataError(f"classes: '{name}' is no class of {file}{did_you_mean(name, known)}")
    return index


def dense_target(num_classes: int, positive, negative=(), ignored=(), rest: int = 0) -> np.ndarray:
    """Return ``gt_score``, ``(num_classes,)`` float32 of 1 (positive), 0 (negative) and -1 (ignored).

    Classes in none of the lists get ``rest``; a class in several lists counts as in the first of them. MMPretrain's
    heads turn ``gt_label`` into 0 and 1, so a -1 reaches the loss and the metric through ``gt_score`` only.

    Example:
        >>> dense_target(4, positive=[0], ignored=[0, 2])
        array([ 1.,  0., -1.,  0.], dtype=float32)
    """
    target = np.full(num_classes, rest, dtype=np.float32)
    for value, labels in ((-1, ignored), (0, negative), (1, positive)):
        target[np.asarray(labels, dtype=np.int64)] = value
    return target
