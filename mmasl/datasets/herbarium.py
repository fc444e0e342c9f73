"""``Herbarium2020``: the single-label data set of the FGVC7 challenge."""

import json
from collections import defaultdict

from mmengine.fileio import get, join_path
from mmpretrain.datasets import BaseDataset

from mmasl.datasets.published import Published
from mmasl.errors import DataError
from mmasl.registry import DATASETS


@DATASETS.register_module()
class Herbarium2020(Published, BaseDataset):
    """Herbarium 2020 as published: each image shows one of the more than 32,000 species that the file lists.

    ::

        data/herbarium2020/nybg2020
        ├── train
        │   ├── metadata.json      COCO-style: images, annotations, categories
        │   └── images             000/00/437000.jpg, ...
        └── test                   no labels are published

    Labels are contiguous in the order of the category ids. The test labels are not public, so this class holds out a
    part of the training images for validation. Of each species with n ≥ 2 images, it holds out the last ones by image
    id: the share ``val_share`` of n, rounded down, and at least one. Macro-F1 therefore sees every species that has two
    images. This split is ours, not the paper's.

    A sample has ``img_path`` and ``gt_label`` (int).

    Args:
        ann_file (str): Path of ``metadata.json``.
        split (str): 'train', 'val', or 'trainval' for all images.
        val_share (float): Share of the images of each species in the 'val' split, in (0, 1).
        **kwargs: Arguments of :class:`mmpretrain.datasets.BaseDataset`: ``data_root``, ``data_prefix`` (the folder of
            ``metadata.json``, since the file names begin with ``images/``), ``pipeline``, ``test_mode``, ...

    Raises:
        FileNotFoundError: If a file or the first image does not exist.
        ValueError: For another ``split`` or ``val_share``, a category or an image that the file does not list, or an
            image without annotation.

    Example:
        >>> import tempfile
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('herbarium', tempfile.mkdtemp()))
        >>> options = dict(data_root=root, data_prefix='nybg2020/train')
        >>> train = Herbarium2020('nybg2020/train/metadata.json', 'train', **options)
        >>> val = Herbarium2020('nybg2020/train/metadata.json', 'val', **options)
        >>> len(train), len(val), train.CLASSES[train[0]['gt_label']]
        (54, 10, 'Digitus primus')
    """

    how_to_get = 'https://www.kaggle.com/c/herbarium-2020-fgvc7/data (nybg2020)'

    def __init__(self, ann_file, split='train', val_share=0.1, **kwargs):
        if split not in ('train', 'val', 'trainval'):
            raise ValueError(f"split: expected 'train', 'val' or 'trainval', got {split!r}")
        if not 0 < val_share < 1:
            raise ValueError(f'val_share: expected a number between 0 and 1, got {val_share}')
        self.split = split
        self.val_share = val_share
        super().__init__(ann_file, **kwargs)

    def load_data_list(self):
        """Read the metadata file and return a list of dicts."""
        # A few names in the file are not encoded in UTF-8.
        content = json.loads(get(self.ann_file).decode('utf-8', errors='replace'))
        categories = {c['id']: c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])}
        self._metainfo.setdefault('classes', tuple(categories.values()))
        label_of = {category_id: label for label, category_id in enumerate(categories)}
        category_of = {a['image_id']: a['category_id'] for a in content['annotations']}
        unknown = set(category_of.values()) - label_of.keys()
        if unknown:
            raise DataError(f'{self.ann_file}: no category has the id {min(unknown)}, which an annotation has')
        path_of = {image['id']: join_path(self.img_prefix, image['file_name']) for image in content['images']}
        for image_id in path_of.keys() ^ category_of.keys():
            raise DataError(f'{self.ann_file}: image {image_id} is not both in its images and in its annotations')

        images_of = defaultdict(list)
        for image_id in sorted(path_of):
            images_of[category_of[image_id]].append(image_id)
        kept = set()
        for image_ids in images_of.values():
            num_val = max(1, int(self.val_share * len(image_ids))) if len(image_ids) > 1 else 0
            first_val = len(image_ids) - num_val
            kept.update({'train': image_ids[:first_val], 'val': image_ids[first_val:]}.get(self.split, image_ids))
        return [{'img_path': path_of[i], 'gt_label': label_of[category_of[i]]} for i in sorted(kept)]
