"""``VOCMultiLabel``: Pascal VOC with a choice of what difficult objects are."""

from xml.etree import ElementTree

from mmpretrain.datasets import VOC

from mmasl.datasets.published import Published, dense_target
from mmasl.registry import DATASETS


@DATASETS.register_module()
class VOCMultiLabel(Published, VOC):
    """MMPretrain's ``VOC`` of 2007 or 2012, where objects that are marked difficult may be ignored.

    ::

        data/VOCdevkit
        ├── VOC2007
        │   ├── Annotations        000001.xml, ...
        │   ├── ImageSets/Main     train.txt, val.txt, trainval.txt, test.txt
        │   └── JPEGImages         000001.jpg, ...
        └── VOC2012                the same; no annotations of its test images are published

    A class with difficult objects and others is positive; an object that does not say whether it is difficult is not.
    A sample has ``img_path``, ``gt_label`` (list), ``gt_label_difficult`` (list), and with ``difficult='ignored'`` also
    ``gt_score`` (20,) with -1 for the classes that have difficult objects only.

    Args:
        data_root (str): The folder of one year.
        difficult (str): What a class is that has difficult objects only: 'negative', as in MMPretrain, 'ignored', as
            the VOC challenge scores it, or 'positive'.
        **kwargs: Of :class:`mmpretrain.datasets.VOC`: ``split``, ``image_set_path``, ``pipeline``, ``test_mode``, ...

    Raises:
        FileNotFoundError: A file or the first image does not exist.
        ValueError: Another ``difficult``; an annotation file that is no XML, or not of this format.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = make_miniature('voc', tempfile.mkdtemp())
        >>> dataset = VOCMultiLabel(f'{root}/VOC2007', split='test', test_mode=True, difficult='ignored')
        >>> len(dataset), len(dataset.CLASSES), sorted({float(t) for sample in dataset for t in sample['gt_score']})
        (32, 20, [-1.0, 0.0, 1.0])
    """

    how_to_get = 'http://host.robots.ox.ac.uk/pascal/VOC (unpack VOCdevkit)'

    def __init__(self, data_root, difficult='negative', **kwargs):
        choices = ('negative', 'ignored', 'positive')
        if difficult not in choices:
            raise ValueError(f'difficult: expected one of {choices}, got {difficult!r}')
        self.difficult = difficult
        super().__init__(data_root, **kwargs)

    def _get_labels_from_xml(self, img_id):
        """Return the classes with objects, and those with difficult ones; upstream needs ``<difficult>`` in each."""
        path = self.backend.join_path(self.ann_prefix, f'{img_id}.xml')
        try:
            objects = ElementTree.fromstring(self.backend.get(path)).findall('object')
            found = [(item.findtext('name'), int(item.findtext('difficult', '0'))) for item in objects]
        except (ElementTree.ParseError, ValueError) as error:
            raise ValueError(f'{path}: {error}') from error
        known = [(self.class_to_idx[name], difficult) for name, difficult in found if name in self.class_to_idx]
        return list({c for c, difficult in known if not difficult}), list({c for c, difficult in known if difficult})

    def get_data_info(self, idx):
        """The sample ``idx`` as the pipeline receives it: a dict (see the class)."""
        info = super().get_data_info(idx)
        if self.difficult == 'positive':
            info['gt_label'] = sorted({*info['gt_label'], *info['gt_label_difficult']})
        elif self.difficult == 'ignored':
            info['gt_score'] = dense_target(len(self.CLASSES), info['gt_label'], ignored=info['gt_label_difficult'])
        return info
