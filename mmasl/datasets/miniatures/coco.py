"""MS-COCO in miniature, for multi-label classification and detection."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from mmasl.datasets.miniatures.scenes import Scene, Size, scenes, unlabelled_scene, write_jpeg

# MS-COCO's names by category id; some of the ids 1 to 90 are not in use.
_NAMES = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
CATEGORIES = [{'id': i, 'name': name} for i, name in enumerate(_NAMES) if name not in ('__background__', 'N/A')]
LICENSES = [{'id': 1, 'name': 'BSD 3-Clause (scikit-learn load_digits)'}]


def write(root: Path, size: Size) -> None:
    """Write train and val in the layouts of 2014 and 2017; the labels of MS-COCO's test images are not published.

    Each split has one additional image without annotations, as MS-COCO has. One annotation is a crowd whose mask is
    stored as run lengths::

        coco
        ├── annotations
        │   ├── instances_train2014.json, instances_val2014.json
        │   └── instances_train2017.json, instances_val2017.json
        ├── train2014, val2014     COCO_train2014_000000000009.jpg
        └── train2017, val2017     000000000009.jpg
    """
    for split in ('train', 'val'):
        pictures = [*scenes(split, size), unlabelled_scene(split, size)]
        ids = [9 + 16 * index for index in range(len(pictures))]  # with gaps, as in MS-COCO
        for year in (2014, 2017):
            prefix = f'COCO_{split}{year}_' if year == 2014 else ''
            names = [f'{prefix}{image_id:012d}.jpg' for image_id in ids]
            for name, scene in zip(names, pictures, strict=True):
                write_jpeg(root / f'{split}{year}' / name, scene)
            content = coco_json(names, ids, pictures)
            path = root / 'annotations' / f'instances_{split}{year}.json'
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content), encoding='utf-8')


def coco_json(names: Iterable[str], ids: Iterable[int], pictures: Iterable[Scene]) -> dict:
    """Return the content of an instances file; the last box is a crowd."""
    images, annotations = [], []
    for name, image_id, scene in zip(names, ids, pictures, strict=True):
        height, width = scene.image.shape[:2]
        images.append({'id': image_id, 'file_name': name, 'width': width, 'height': height, 'license': 1})
        for label, box in zip(scene.labels, scene.boxes, strict=True):
            annotations.append(coco_annotation(len(annotations) + 1, image_id, CATEGORIES[label]['id'], box))
            last_size = height, width
    crowd = annotations[-1]
    crowd.update(iscrowd=1, segmentation=_run_lengths(crowd['bbox'], *last_size))
    return {'info': {}, 'licenses': LICENSES, 'images': images, 'annotations': annotations, 'categories': CATEGORIES}


def coco_annotation(number: int, image_id: int, category_id: int, box: Sequence[float]) -> dict:
    """Return the annotation of an object that fills its ``box`` (x1, y1, x2, y2).

    Example:
        >>> coco_annotation(1, 9, 90, (2, 3, 12, 8))['bbox']
        [2, 3, 10, 5]
    """
    x1, y1, x2, y2 = box
    return {
        'id': number,
        'image_id': image_id,
        'category_id': category_id,
        'segmentation': [[x1, y1, x2, y1, x2, y2, x1, y2]],
        'bbox': [x1, y1, x2 - x1, y2 - y1],
        'area': (x2 - x1) * (y2 - y1),
        'iscrowd': 0,
    }


def _run_lengths(bbox: list[int], height: int, width: int) -> dict:
    """Return the mask of a box in MS-COCO's format of crowds: run lengths along the columns, background first."""
    x, y, w, h = bbox
    counts = [x * height + y, *[h, height - h] * (w - 1), h, (width - x - w) * height + height - y - h]
    return {'size': [height, width], 'counts': counts}
