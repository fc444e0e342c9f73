"""What the classes for published data sets share: dense targets, and errors that say what is missing."""

from collections.abc import Iterable

import numpy as np
from mmengine.fileio import exists

from mmasl.errors import DataError, MissingFileError, did_you_mean


class Published:
    """Mixin, ahead of a data set of MMPretrain: says which file is missing and where the data set is published.

    ``how_to_get`` is also what the tools say of a config whose ``data_root`` does not exist.
    """

    how_to_get = ''

    def full_init(self):
        """Load the annotations, and look for the first image, which tells whether the folder is the right one.

        Raises:
            FileNotFoundError: An annotation file or the first image does not exist.
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
        """Leave out nothing.

        Raises:
            ValueError: There is no image.
        """
        if not len(self.data_list):
            raise DataError(f'{type(self).__name__}: no image with a label in {self.ann_file}')
        return super().filter_data()

    def prepare_data(self, idx):
        """Run the pipeline on image ``idx``.

        Raises:
            FileNotFoundError: The image is listed in the annotations, but does not exist.
        """
        try:
            return super().prepare_data(idx)
        except FileNotFoundError as error:
            path = self.get_data_info(idx)['img_path']
            raise FileNotFoundError(self._message(path, 'is listed, but does not exist')) from error

    def _message(self, path, what: str) -> str:
        return f'{type(self).__name__}: {path} {what}' + (f'; get it from {self.how_to_get}' if self.how_to_get else '')


def class_index(names: Iterable[str], known: Iterable[str], file: str) -> dict[str, int]:
    """Return the label of each of ``names``, its position.

    Raises:
        ValueError: One of them is not ``known`` to the annotation ``file``.

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
    """Return ``(num_classes,)`` float32 of 1, 0 and -1 (ignored), for ``gt_score``; of several, the first one counts.

    MMPretrain's heads make 0 and 1 of ``gt_label``; a -1 reaches the loss and the metric through ``gt_score`` only.

    Example:
        >>> dense_target(4, positive=[0], ignored=[0, 2])
        array([ 1.,  0., -1.,  0.], dtype=float32)
    """
    target = np.full(num_classes, rest, dtype=np.float32)
    for value, labels in ((-1, ignored), (0, negative), (1, positive)):
        target[np.asarray(labels, dtype=np.int64)] = value
    return target
