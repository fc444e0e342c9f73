"""``CSVMultiLabel``: a user's own pictures with labels from a CSV file."""

import csv
import io
import logging
import os
from collections import Counter
from collections.abc import Iterator

from mmengine.fileio import get_text, join_path
from mmengine.logging import print_log
from mmpretrain.datasets import MultiLabelDataset

from mmasl.datasets.annotation_files import check_spelling
from mmasl.datasets.published import Published, class_index, dense_target
from mmasl.errors import DataError, did_you_mean, first_names
from mmasl.registry import DATASETS

VALUES = {'1': 1, '0': 0, '-1': -1, '1.0': 1, '0.0': 0, '-1.0': -1}  # pandas writes the second three


@DATASETS.register_module()
class CSVMultiLabel(Published, MultiLabelDataset):
    """Reads pictures and labels from a CSV file with a column ``file`` and the labels in one of two forms.

    The first form has the names of the labels in a column ``labels``, separated by semicolons. A question mark before a
    name means that nobody knows whether the picture has this label; the label is ignored. An empty cell means that the
    picture has none of the labels::

        file,labels,split
        beach/001.jpg,sea;person,train
        beach/002.jpg,sea;?person,train
        city/001.jpg,,val

    The second form has a column for each class with the values 1 (positive), 0 (negative) and -1 (ignored)::

        file,sea,person,split
        beach/001.jpg,1,1,train
        beach/002.jpg,1,-1,train
        city/001.jpg,0,0,val

    The column ``split`` may be missing if each split has a file of its own. ``file`` is a path relative to
    ``data_root`` and ``data_prefix``; it may contain subfolders.

    A sample has ``img_path``, ``gt_label`` (sorted list of its positive labels) and ``gt_score`` (C,) of 1, 0 and -1.

    Args:
        ann_file (str): Path of the CSV file.
        split (str, optional): Use only the rows with this value in the column ``split``. By default use all rows, with
            a warning if the column has several values.
        **kwargs: Arguments of :class:`mmpretrain.datasets.MultiLabelDataset`: ``data_root``, ``data_prefix`` (the
            folder of the pictures), ``pipeline``, ``test_mode``, ... ``classes`` sets the classes and their order. By
            default, the classes are the columns of the second form, or all names of the first form in every split, in
            alphabetical order. Set ``classes`` if each split has its own file in the first form.

    Raises:
        FileNotFoundError: If the CSV file or a picture does not exist.
        ValueError: If the file is not in UTF-8, a column is missing, twice or without a name, or no row belongs to
            ``split``. If a row has no file, a file that an earlier row has, a name that is not one of the ``classes``,
            that differs from another in case, blanks, hyphens or underscores only, or that is there with and without a
            question mark, or a value other than 1, 0 and -1. The message names the line.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('own_pictures', tempfile.mkdtemp()))
        >>> dataset = CSVMultiLabel('labels.csv', split='val', data_root=root, data_prefix='pictures')
        >>> len(dataset), dataset.CLASSES[:3], dataset[1]['gt_label'], dataset[1]['gt_score'].tolist()
        (32, ('eight', 'five', 'four'), [2], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    """

    def __init__(self, ann_file, split=None, **kwargs):
        self.split = split
        super().__init__(ann_file, **kwargs)

    def load_data_list(self):
        """Read the CSV file and return a list of dicts."""
        try:
            text = get_text(self.ann_file).removeprefix('\ufeff')  # Excel writes this mark
        except UnicodeDecodeError as error:
            raise DataError(f'{self.ann_file} is not in UTF-8 ({error}); save it as "CSV UTF-8"') from error
        reader = csv.DictReader(io.StringIO(text))
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        wrong = [name for name in columns if not name or columns.count(name) > 1]
        if wrong:
            raise DataError(
                f'{self.ann_file}: '
                + (f"the column '{wrong[0]}' is there twice" if wrong[0] else 'a column has no name in the first line')
            )
        if 'file' not in columns:
            raise DataError(f'{self.ann_file}: expected the column file, got {columns}; commas separate the columns')
        if self.split is not None and 'split' not in columns:
            raise DataError(f"{self.ann_file}: expected the column split, as split='{self.split}', got {columns}")
        rows = [(reader.line_num, row) for row in reader]
        if self.split is None and 'split' in columns:
            self._warn_of_splits(Counter(split_of(row) for _, row in rows).most_common())
        read = self._names if 'labels' in columns else self._values
        labels = [read(number, row) for number, row in rows]
        found = sorted({name for _, names in labels for name in names}) if 'labels' in columns else None
        known = found if found is not None else [name for name in columns if name not in ('file', 'split')]
        if not known:
            raise DataError(f'{self.ann_file}: expected the column labels, or a column for each class, got {columns}')
        if 'classes' not in self._metainfo:
            self._metainfo['classes'] = tuple(known)
            check_spelling(self.ann_file, known)
        index = class_index(self.CLASSES, known if found is None else self.CLASSES, self.ann_file)
        return list(self._samples(rows, labels, index, strict=found is not None))

    def _samples(self, rows, labels, index, strict) -> Iterator[dict]:
        first, missing = {}, []
        for (number, row), (file, values) in zip(rows, labels, strict=True):
            for name in values.keys() - index.keys() if strict else ():
                raise self._error(number, f"'{name}' is none of the classes{did_you_mean(name, index)}")
            if self.split is not None and split_of(row) != self.split:
                continue
            if file in first:
                raise self._error(number, f'{file} is in line {first[file]} as well')
            first[file] = number
            path = join_path(self.img_prefix, file)
            if '://' not in path and not os.path.isfile(path):
                missing.append((number, path))
            labels_of = {
                value: sorted(index[name] for name in index.keys() & values.keys() if values[name] == value)
                for value in (1, -1)
            }
            yield {'img_path': path, 'gt_label': labels_of[1], 'ignored': labels_of[-1]}
        if missing:
            number, path = missing[0]
            raise FileNotFoundError(2, 'no such file', f'{path} (line {number}, with {len(missing) - 1} others)')
        if not first:
            there = sorted({split_of(row) for _, row in rows})
            near = did_you_mean(self.split or '', there)
            raise DataError(f"{self.ann_file}: no row has the split '{self.split}', but {', '.join(there)}{near}")

    def _warn_of_splits(self, counts: list[tuple[str, int]]) -> None:
        if len(counts) > 1:
            print_log(
                f'{self.ann_file}: all rows are used, of every value in the column split '
                f'({first_names([f"{number} of {name!r}" for name, number in counts])}), because split is not set; '
                f'write split={counts[0][0]!r} to use only the rows with this value',
                logger='current',
                level=logging.WARNING,
            )

    def _names(self, number: int, row: dict) -> tuple[str, dict[str, int]]:
        """Return the file of a row of the first form, and 1 or -1 for each of its names."""
        names = [name.strip() for name in (row['labels'] or '').split(';') if name.strip()]
        ignored = {name.removeprefix('?').strip(): -1 for name in names if name.startswith('?')}
        positive = {name: 1 for name in names if not name.startswith('?')}
        for name in ignored.keys() & positive.keys():
            raise self._error(number, f"it has both '{name}' and '?{name}'")
        return self._file(number, row), ignored | positive

    def _values(self, number: int, row: dict) -> tuple[str, dict[str, int]]:
        """Return the file of a row of the second form, and the value for each class."""
        cells = {name: (cell or '').strip() for name, cell in row.items() if name not in ('file', 'split', None)}
        for name, cell in cells.items():
            if cell not in VALUES:
                raise self._error(number, f"the column {name} has '{cell}', expected 1, 0 or -1")
        return self._file(number, row), {name: VALUES[cell] for name, cell in cells.items()}

    def _file(self, number: int, row: dict) -> str:
        file = (row['file'] or '').strip().replace('\\', '/')
        if not file or None in row:
            raise self._error(number, 'it has no file' if not file else 'it has more cells than the first line')
        return file

    def _error(self, number: int, what: str) -> DataError:
        return DataError(f'{self.ann_file}, line {number}: {what}')

    def get_data_info(self, idx):
        """Return the sample ``idx`` as the pipeline receives it, a dict (see the class)."""
        info = super().get_data_info(idx)
        info['gt_score'] = dense_target(len(self.CLASSES), info['gt_label'], ignored=info.pop('ignored'))
        return info


def split_of(row: dict) -> str:
    """Return the split that a row of the file names, or '' if it names none."""
    return (row.get('split') or '').strip()
