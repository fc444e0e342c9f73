"""Herbarium 2020 in miniature; its ten species are the digits."""

import json
from pathlib import Path

from mmasl.datasets.miniatures.scenes import Size, scenes, write_jpeg

_SPECIES = ['nullus', 'primus', 'secundus', 'tertius', 'quartus', 'quintus', 'sextus', 'septimus', 'octavus', 'nonus']


def write(root: Path, size: Size) -> None:
    """Write ``train`` with one digit per image; the labels of the challenge's test images are not published.

    ::

        herbarium2020
        └── nybg2020/train
            ├── metadata.json      images, annotations, categories, regions
            └── images             000/00/1.jpg, ...
    """
    categories = [
        {'id': 3 * label, 'name': f'Digitus {name}', 'genus': 'Digitus', 'family': 'Digitaceae'}
        for label, name in enumerate(_SPECIES)
    ]
    images, annotations = [], []
    for index, scene in enumerate(scenes('train', size, len(categories), single=True)):
        name = f'images/{index // 10000:03d}/{index // 100 % 100:02d}/{index}.jpg'
        write_jpeg(root / 'nybg2020' / 'train' / name, scene)
        height, width = scene.image.shape[:2]
        images.append({'id': index, 'file_name': name, 'height': height, 'width': width, 'license': 1})
        category_id = categories[scene.labels[0]]['id']
        annotations.append({'id': index, 'image_id': index, 'category_id': category_id, 'region_id': 1})
    content = {'info': {}, 'images': images, 'categories': categories, 'annotations': annotations}
    content.update(regions=[{'id': 1, 'name': 'scikit-learn'}], licenses=[{'id': 1, 'name': '', 'url': ''}])
    (root / 'nybg2020' / 'train' / 'metadata.json').write_text(json.dumps(content), encoding='utf-8')
