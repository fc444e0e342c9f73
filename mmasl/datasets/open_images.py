"""``OpenImages``: the human-verified image-level labels of Open Images V6."""

import csv
import io
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import exists, get_local_path, get_text, join_path
from mmpretrain.datasets import MultiLabelDataset

from mmasl.datasets.published import Published, class_index, dense_target
from mmasl.errors import DataError
from mmasl.registry import DATASETS


@DATASETS.register_module()
class OpenImages(Published, MultiLabelDataset):
    """Open Images V6 with the image-level labels that people verified, positive and negative.

    ::

        data/open_images
        ├── oidv6-class-descriptions.csv                        LabelName,DisplayName
        ├── oidv6-classes-trainable.txt                         the LabelNames of the trainable classes
        ├── oidv6-train-annotations-human-imagelabels.csv       ImageID,Source,LabelName,Confidence
        ├── validation-annotations-human-imagelabels.csv
        ├── test-annotations-human-imagelabels.csv
        └── train, validation, test                             000002b66c9c498e.jpg, ...

    The data set contains the images with at least one verified label of the classes, in the order of their ids. A label
    that was verified both as positive and as negative is positive. The file is read line by line. The index of N images
    with L labels takes 24 N + 2 L bytes, without a Python object per image, and the workers share it.

    A sample has ``img_path``, ``gt_label`` (sorted list of the positives), ``gt_label_negative`` (sorted list of the
    verified negatives), and with ``unverified='ignored'`` also ``gt_score`` (C,), which is -1 for labels that nobody
    verified. Published results compute the AP of a class over the images annotated for it; this needs ``gt_score`` in
    testing.

    Args:
        ann_file (str): File with the human-verified labels of one split.
        unverified (str): How labels that nobody verified count: 'negative' or 'ignored'.
        classes_file (str): File with the names of the classes.
        trainable_file (str, optional): File with the classes to use, in this order. None uses all of ``classes_file``.
        **kwargs: Arguments of :class:`mmpretrain.datasets.MultiLabelDataset`: ``data_root``, ``data_prefix`` (the
            folder of the images), ``pipeline``, ``test_mode``, ... ``classes`` selects display names and sets their
            order; ``serialize_data`` has no effect.

    Raises:
        FileNotFoundError: If a file or the first image does not exist.
        ValueError: For another ``unverified``, an unknown class, or a line that does not have this format.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('open_images', tempfile.mkdtemp()))
        >>> ann_file = 'test-annotations-human-imagelabels.csv'
        >>> dataset = OpenImages(ann_file, unverified='ignored', data_root=root, data_prefix='test')
        >>> len(dataset), len(dataset.CLASSES), sorted(set(dataset[0]['gt_score'].tolist()))
        (32, 40, [-1.0, 0.0, 1.0])
    """

    how_to_get = 'https://storage.googleapis.com/openimages/web/download.html (V6, image-level labels)'

    def __init__(
        self,
        ann_file,
        unverified='negative',
        classes_file='oidv6-class-descriptions.csv',
        trainable_file='oidv6-classes-trainable.txt',
        data_root='',
        **kwargs,
    ):
        if unverified not in ('negative', 'ignored'):
            raise ValueError(f"unverified: expected 'negative' or 'ignored', got {unverified!r}")
        self.unverified = unverified
        self.classes_file = join_path(data_root, classes_file)
        self.trainable_file = trainable_file and join_path(data_root, trainable_file)
        kwargs['serialize_data'] = False  # the index is smaller than pickled dicts, and workers share it too
        super().__init__(ann_file, data_root=data_root, **kwargs)

    def load_data_list(self):
        """Read the classes and the verified labels and return a sequence that builds the dict of an image on access."""
        for file in (self.ann_file, self.classes_file, self.trainable_file):
            if file and not exists(file):
                raise FileNotFoundError(file)
        label_of = self._read_classes()
        images, codes = array('Q'), array('h' if len(label_of) < 2**15 else 'i')
        with get_local_path(self.ann_file) as path, open(path, 'rb') as lines:
            if next(lines, b'').strip() != b'ImageID,Source,LabelName,Confidence':
                raise DataError(f'{self.ann_file}: expected ImageID,Source,LabelName,Confidence in its first line')
            for number, line in enumerate(lines, start=2):
                try:
                    image, _, name, confidence = line.split(b',')
                    label = label_of.get(name)
                    if label is not None:
                        images.append(int(image, 16))
                        codes.append(label if int(confidence) else ~label)
                except ValueError:
                    raise DataError(f'{self.ann_file}, line {number}: cannot read {line.decode().strip()}') from None
        return _Rows.collect(self.img_prefix, np.asarray(images), np.asarray(codes))

    def get_data_info(self, idx):
        """Return the sample ``idx`` as the pipeline receives it, a dict (see the class)."""
        info = super().get_data_info(idx)
        if self.unverified == 'ignored':
            positive, negative = info['gt_label'], info['gt_label_negative']
            info['gt_score'] = dense_target(len(self.CLASSES), positive, negative, rest=-1)
        return info

    def _read_classes(self) -> dict[bytes, int]:
        """Set the names of the classes, and return their labels by LabelName."""
        names = dict(csv.reader(io.StringIO(get_text(self.classes_file))))
        if names.pop('LabelName', None) != 'DisplayName':
            raise DataError(f'{self.classes_file}: expected LabelName,DisplayName in its first line')
        if self.trainable_file:
            trainable = get_text(self.trainable_file).split()
            unknown = [name for name in trainable if name not in names]
            if unknown:
                raise DataError(f'{self.trainable_file}: {unknown[0]} is no class of {self.classes_file}')
            names = {name: names[name] for name in trainable}
        times = Counter(names.values())  # some names stand for several classes
        names = {key: name if times[name] == 1 else f'{name} ({key})' for key, name in names.items()}
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(names.values())
            return {name.encode(): label for label, name in enumerate(names)}
        index = class_index(self.CLASSES, names.values(), self.classes_file)
        return {name.encode(): index[display] for name, display in names.items() if display in index}


class _Rows(Sequence):
    """The samples of many images in a few arrays; a row becomes a dict on access.

    Args:
        prefix: Folder of the images.
        images: Ids of the images, ``(N,)`` uint64.
        starts, stops: Positions of the labels of each image in ``codes``, ``(N,)`` int64.
        codes: c for a positive label, -1 - c for a negative one.
    """

    def __init__(self, prefix, images, starts, stops, codes):
        self.prefix, self.images, self.starts, self.stops, self.codes = prefix, images, starts, stops, codes

    @classmethod
    def collect(cls, prefix, images, codes):
        """Build the rows from one entry for each label; in the published files the entries of an image are adjacent."""
        if np.any(images[1:] < images[:-1]):
            order = np.argsort(images, kind='stable')
            images, codes = images[order], codes[order]
        starts = np.flatnonzero(np.diff(images, prepend=images[:1] + np.uint64(1)))
        return cls(prefix, images[starts], starts, np.append(starts[1:], len(images)), codes)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return _Rows(self.prefix, self.images[index], self.starts[index], self.stops[index], self.codes)
        codes = self.codes[self.starts[index] : self.stops[index]].tolist()
        positive = {code for code in codes if code >= 0}
        return {
            'img_path': join_path(self.prefix, f'{self.images[index]:016x}.jpg'),
            'gt_label': sorted(positive),
            'gt_label_negative': sorted({~code for code in codes if code < 0} - positive),
        }
