"""``VOCMultiLabel``: Pascal VOC with a choice of how difficult objects count."""

import logging
from collections import Counter

from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmpretrain.datasets import VOC

from mmasl.datasets.annotation_files import check_names, read_voc
from mmasl.datasets.published import Published, dense_target
from mmasl.errors import DataError
from mmasl.registry import DATASETS


@DATASETS.register_module()
class VOCMultiLabel(Published, VOC):
    """MMPretrain's ``VOC`` of 2007 or 2012 with the option to ignore objects that are marked difficult.

    ::

        data/VOCdevkit
        ├── VOC2007
        │   ├── Annotations        000001.xml, ...
        │   ├── ImageSets/Main     train.txt, val.txt, trainval.txt, test.txt
        │   └── JPEGImages         000001.jpg, ...
        └── VOC2012                the same, without annotations of its test images

    A class is positive if the image has an object of it that is not difficult. An object without the entry
    ``<difficult>`` is not difficult. Objects whose name is not a class are left out with a warning;
    ``metainfo=dict(classes=(...))`` sets other classes. A sample has ``img_path``, ``gt_label`` (list),
    ``gt_label_difficult`` (list), and with ``difficult='ignored'`` also ``gt_score`` (20,), which is -1 for the classes
    with difficult objects only.

    Args:
        data_root (str): The folder of one year.
        difficult (str): How a class with difficult objects only counts: 'negative' as in MMPretrain, 'ignored' as in
            the VOC challenge, or 'positive'.
        **kwargs: Arguments of :class:`mmpretrain.datasets.VOC`: ``split``, ``image_set_path``, ``pipeline``,
            ``test_mode``, ...

    Raises:
        FileNotFoundError: If a file or the first image does not exist.
        ValueError: For another ``difficult``, an annotation file that is not XML or not of this format, or a name that
            differs from a class only in case, blanks or hyphens; or if no object belongs to one of the classes.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = make_miniature('voc', tempfile.mkdtemp())
        >>> dataset = VOCMultiLabel(f'{root}/VOC2007', split='test', test_mode=True, difficult='ignored')
        >>> scores = {float(score) for sample in dataset for score in sample['gt_score']}
        >>> len(dataset), len(dataset.CLASSES), sorted(scores)
        (32, 20, [-1.0, 0.0, 1.0])
    """

    how_to_get = 'http://host.robots.ox.ac.uk/pascal/VOC (unpack VOCdevkit)'

    def __init__(self, data_root, difficult='negative', **kwargs):
        choices = ('negative', 'ignored', 'positive')
        if difficult not in choices:
            raise ValueError(f'difficult: expected one of {choices}, got {difficult!r}')
        self.difficult = difficult
        super().__init__(data_root, **kwargs)

    def load_data_list(self):
        """Read the image set and the XML file of each image, and return a list of dicts."""
        self._found = Counter()
        lines = [line.strip() for line in list_from_file(self.image_set_path)]
        with_labels = self.ann_prefix is not None
        data_list = []
        for img_id in filter(None, lines):
            labels, difficult = self._get_labels_from_xml(img_id) if with_labels else (None, None)
            path = self.backend.join_path(self.img_prefix, f'{img_id}.jpg')
            data_list.append({'img_path': path, 'gt_label': labels, 'gt_label_difficult': difficult})
        left_out = check_names(self.image_set_path, self._found, self.CLASSES)
        if left_out:
            print_log(left_out, logger='current', level=logging.WARNING)
        return data_list

    def _get_labels_from_xml(self, img_id):
        """Return the classes with objects and those with difficult ones; upstream requires ``<difficult>`` in each."""
        path, labels = self.backend.join_path(self.ann_prefix, f'{img_id}.xml'), (set(), set())
        for item in read_voc(path).findall('object'):
            name, difficult = item.findtext('name').strip(), (item.findtext('difficult') or '').strip() or '0'
            if difficult not in ('0', '1'):
                raise DataError(f"{path}: object '{name}' has '{difficult}' as <difficult>; expected 0 or 1")
            self._found[name] += 1
            if name in self.class_to_idx:
                labels[int(difficult)].add(self.class_to_idx[name])
        return tuple(map(list, labels))

    def get_data_info(self, idx):
        """Return the sample ``idx`` as the pipeline receives it, a dict (see the class)."""
        info = super().get_data_info(idx)
        if self.difficult == 'positive':
            info['gt_label'] = sorted({*info['gt_label'], *info['gt_label_difficult']})
        elif self.difficult == 'ignored':
            info['gt_score'] = dense_target(len(self.CLASSES), info['gt_label'], ignored=info['gt_label_difficult'])
        return info
