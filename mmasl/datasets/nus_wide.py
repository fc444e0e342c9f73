"""``NUSWIDE``: the 81 concepts of NUS-WIDE, in the split of the ASL authors or in the original one."""

import csv
import io
import re

import numpy as np
from mmengine.fileio import get, get_text, join_path
from mmpretrain.datasets import MultiLabelDataset

from mmasl.datasets.published import Published, class_index
from mmasl.errors import DataError
from mmasl.registry import DATASETS

_NAMES = """
airport animal beach bear birds boats book bridge buildings cars castle cat cityscape clouds computer coral cow dancing
dog earthquake elk fire fish flags flowers food fox frost garden glacier grass harbor horses house lake leaf map
military moon mountain nighttime ocean person plane plants police protest railroad rainbow reflection road rocks running
sand sign sky snow soccer sports statue street sun sunset surf swimmers tattoo temple tiger tower town toy train tree
valley vehicle water waterfall wedding whales window zebra
"""
CONCEPTS = tuple(_NAMES.split())


@DATASETS.register_module()
class NUSWIDE(Published, MultiLabelDataset):
    """NUS-WIDE as the ASL authors split it (70 to 30), or as it was published (60 to 40).

    ::

        data/nus_wide
        ├── nus_wid_data.csv       the authors' file: filepath,label,split_name
        ├── images                 with the paths of the filepath column
        ├── ConceptsList           Concepts81.txt           ┐
        ├── Groundtruth/TrainTestLabels                     │
        │                          Labels_sky_Train.txt ... │ as published
        ├── ImageList              TrainImagelist.txt ...   │
        └── Flickr                 actor/0001_2124494179.jpg┘

    Images without any of the concepts are left out. A sample has ``img_path`` and ``gt_label`` (sorted list).

    Args:
        ann_file (str): The authors' CSV file, or the folder ``Groundtruth/TrainTestLabels``. With the folder, the
            folders ``ConceptsList`` and ``ImageList`` must be next to ``Groundtruth``, and ``data_prefix`` must be the
            folder of the images.
        split (str): 'train' or 'test', which the authors' file calls 'val'.
        drop_unlabelled (bool): Leave out the images without a label.
        **kwargs: Arguments of :class:`mmpretrain.datasets.MultiLabelDataset`: ``data_root``, ``data_prefix``,
            ``pipeline``, ``test_mode``, ... ``classes`` selects concepts and sets their order.

    Raises:
        FileNotFoundError: If a file or the first image does not exist.
        ValueError: For another ``split``, an unknown concept, or a label file whose length differs from the list of
            images.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('nus_wide', tempfile.mkdtemp()))
        >>> dataset = NUSWIDE('nus_wid_data.csv', split='test', data_root=root)
        >>> folder = 'Groundtruth/TrainTestLabels'
        >>> original = NUSWIDE(folder, split='test', data_root=root, data_prefix='Flickr')
        >>> len(dataset), len(dataset.CLASSES), dataset[0]['gt_label'] == original[0]['gt_label']
        (32, 81, True)
    """

    METAINFO = {'classes': CONCEPTS}
    how_to_get = (
        'https://lms.comp.nus.edu.sg (NUS-WIDE), and nus_wid_data.csv from https://github.com/Alibaba-MIIL/ASL (README)'
    )

    def __init__(self, ann_file, split='train', drop_unlabelled=True, **kwargs):
        if split not in ('train', 'test'):
            raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
        self.split = split
        self.drop_unlabelled = drop_unlabelled
        super().__init__(ann_file, **kwargs)

    def load_data_list(self):
        """Read the CSV file or the concept files and return a list of dicts."""
        read = self._read_csv if self.ann_file.endswith('.csv') else self._read_concepts
        return [
            {'img_path': join_path(self.img_prefix, name), 'gt_label': labels}
            for name, labels in read()
            if labels or not self.drop_unlabelled
        ]

    def _read_csv(self):
        index = class_index(self.CLASSES, CONCEPTS, self.ann_file)
        names = {'train': ('train',), 'test': ('val', 'test')}[self.split]
        rows = csv.DictReader(io.StringIO(get_text(self.ann_file)))
        missing = {'filepath', 'label', 'split_name'} - set(rows.fieldnames or ())
        if missing:
            raise DataError(f'{self.ann_file}: expected the column {min(missing)}, got {rows.fieldnames}')
        for row in rows:
            if row['split_name'] in names:
                concepts = re.findall(r"'([^']*)'", row['label'])
                unknown = set(concepts).difference(CONCEPTS)
                if unknown:
                    raise DataError(f"{self.ann_file}: '{min(unknown)}' ({row['filepath']}) is none of the 81 concepts")
                yield row['filepath'], sorted(index[concept] for concept in set(concepts) & index.keys())

    def _read_concepts(self):
        root = join_path(self.ann_file, '..', '..')
        part = self.split.capitalize()
        concepts_file = join_path(root, 'ConceptsList', 'Concepts81.txt')
        class_index(self.CLASSES, get_text(concepts_file).split(), concepts_file)
        images = get_text(join_path(root, 'ImageList', f'{part}Imagelist.txt')).replace('\\', '/').split()
        labels = [[] for _ in images]
        for label, concept in enumerate(self.CLASSES):
            path = join_path(self.ann_file, f'Labels_{concept}_{part}.txt')
            digits = np.frombuffer(get(path), dtype=np.uint8)
            digits = digits[digits >= ord('0')]  # drops line ends
            if len(digits) != len(images):
                raise DataError(f'{path}: expected 0 or 1 for each of {len(images)} images, got {len(digits)}')
            for image in np.flatnonzero(digits == ord('1')):
                labels[image].append(label)
        return zip(images, labels, strict=True)
