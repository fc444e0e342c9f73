"""``CocoMultiLabel``: MS-COCO for multi-label classification."""

from collections import defaultdict

from mmengine.fileio import join_path
from mmpretrain.datasets import MultiLabelDataset

from mmasl.datasets.annotation_files import read_coco
from mmasl.datasets.published import Published, class_index
from mmasl.errors import DataError
from mmasl.registry import DATASETS

SIZES = ('small', 'medium', 'large')


@DATASETS.register_module()
class CocoMultiLabel(Published, MultiLabelDataset):
    """MS-COCO's instances files of 2014 or 2017 as published; the labels of an image are the classes of its objects.

    ::

        data/coco
        ├── annotations
        │   ├── instances_train2014.json, instances_val2014.json
        │   └── instances_train2017.json, instances_val2017.json
        ├── train2014, val2014     COCO_train2014_000000000009.jpg, ...
        └── train2017, val2017     000000000009.jpg, ...

    Labels are contiguous in the order of the category ids (80 of 1 to 90). Images without any annotation are left out;
    in 2014, 82,081 images remain for training and 40,137 for validation. Crowds and objects of any size count as
    positives, as in the authors' script.

    A sample has ``img_path``, ``img_id``, ``gt_label`` (sorted list), and in ``gt_label_small``, ``gt_label_medium``
    and ``gt_label_large`` the classes that have an object with an area below 32², below 96², and above. An object
    without an area gets the area of its box.

    Args:
        ann_file (str): Path of an instances file.
        drop_unlabelled (bool): Leave out the images without an annotation of the classes.
        **kwargs: Arguments of :class:`mmpretrain.datasets.MultiLabelDataset`: ``data_root``, ``data_prefix`` (the
            folder of the images), ``pipeline``, ``test_mode``, ... ``classes`` selects classes and sets their order.

    Raises:
        FileNotFoundError: If a file or the first image does not exist.
        ValueError: For unknown ``classes``, an entry that lacks a key or refers to a category or image that is not
            listed, two categories with the same name, or if no image is left.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('coco', tempfile.mkdtemp()))
        >>> file = 'annotations/instances_val2014.json'
        >>> dataset = CocoMultiLabel(file, data_root=root, data_prefix='val2014')
        >>> len(dataset), len(dataset.CLASSES), dataset[0]['gt_label'], dataset[0]['gt_label_medium']
        (32, 80, [16, 20, 24, 29, 65], [20, 65])
    """

    how_to_get = 'https://cocodataset.org/#download (images and annotations, unpacked side by side)'

    def __init__(self, ann_file, drop_unlabelled=True, **kwargs):
        self.drop_unlabelled = drop_unlabelled
        super().__init__(ann_file, **kwargs)

    def load_data_list(self):
        """Read the instances file and return a list of dicts."""
        content = read_coco(self.ann_file)
        categories = {c['id']: c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])}
        self._metainfo.setdefault('classes', tuple(categories.values()))
        index = class_index(self.CLASSES, categories.values(), self.ann_file)
        label_of = {category_id: index.get(name) for category_id, name in categories.items()}

        found = defaultdict(lambda: tuple(set() for _ in SIZES))  # image id -> labels of each size
        for number, annotation in enumerate(content['annotations']):
            label = label_of[annotation['category_id']]
            if label is not None:
                area = annotation.get('area')
                if area is None:
                    if 'bbox' not in annotation:
                        raise DataError(f'{self.ann_file}: annotations[{number}] has neither area nor bbox')
                    area = annotation['bbox'][2] * annotation['bbox'][3]
                found[annotation['image_id']][(area >= 32**2) + (area >= 96**2)].add(label)

        data_list = []
        for image in content['images']:
            if image['id'] in found or not self.drop_unlabelled:
                by_size = found[image['id']]
                path = join_path(self.img_prefix, image['file_name'].replace('\\', '/'))
                info = {'img_path': path, 'img_id': image['id'], 'gt_label': sorted(set().union(*by_size))}
                info.update({f'gt_label_{size}': sorted(labels) for size, labels in zip(SIZES, by_size, strict=True)})
                data_list.append(info)
        return data_list
