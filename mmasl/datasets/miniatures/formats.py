"""The on-disk formats of the miniatures; each function writes one and shows its folders."""

import csv
import json
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from xml.etree import ElementTree

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from mmasl.datasets.miniatures.scenes import CLASSES, SPLITS, Scene, Size, scenes, unlabelled_scene, write_jpeg

# MS-COCO's names by category id; some of the ids 1 to 90 are not in use.
_NAMES = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
COCO_CATEGORIES = [{'id': i, 'name': name} for i, name in enumerate(_NAMES) if name not in ('__background__', 'N/A')]
COCO_LICENSES = [{'id': 1, 'name': 'BSD 3-Clause (scikit-learn load_digits)'}]
NUM_CLASSES, NUM_TRAINABLE = 48, 40  # the 80 kinds of digits are mapped onto these classes
_OPEN_IMAGES_FILES = {
    'train': 'oidv6-train-annotations-human-imagelabels.csv',
    'validation': 'validation-annotations-human-imagelabels.csv',
    'test': 'test-annotations-human-imagelabels.csv',
}
_SPECIES = ['nullus', 'primus', 'secundus', 'tertius', 'quartus', 'quintus', 'sextus', 'septimus', 'octavus', 'nonus']
OWN_CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


def write_coco(root: Path, size: Size) -> None:
    """Write MS-COCO's train and val in the layouts of 2014 and 2017; the labels of its test images are not published.

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
            annotations.append(coco_annotation(len(annotations) + 1, image_id, COCO_CATEGORIES[label]['id'], box))
            last_size = height, width
    crowd = annotations[-1]
    crowd.update(iscrowd=1, segmentation=_crowd_mask(crowd['bbox'], *last_size))
    lists = {'images': images, 'annotations': annotations, 'categories': COCO_CATEGORIES}
    return {'info': {}, 'licenses': COCO_LICENSES, **lists}


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


def _crowd_mask(bbox: list[int], height: int, width: int) -> dict:
    """Return the mask of a box in MS-COCO's format of crowds: run lengths along the columns, background first."""
    x, y, w, h = bbox
    counts = [x * height + y, *[h, height - h] * (w - 1), h, (width - x - w) * height + height - y - h]
    return {'size': [height, width], 'counts': counts}


def write_voc(root: Path, size: Size) -> None:
    """Write VOC2007, and VOC2012 whose test images have no annotations. Every fifth object is difficult.

    ::

        VOCdevkit
        ├── VOC2007
        │   ├── Annotations        000001.xml, ...
        │   ├── ImageSets/Main     train.txt, val.txt, trainval.txt, test.txt
        │   └── JPEGImages         000001.jpg, ...
        └── VOC2012                2008_000001.xml, ...
    """
    from mmpretrain.datasets.categories import VOC2007_CATEGORIES

    for year, prefix in ((2007, ''), (2012, '2008_')):
        folder = root / f'VOC{year}'
        for name in ('Annotations', 'ImageSets/Main'):
            (folder / name).mkdir(parents=True)
        names, objects = {}, 0
        for split, before in zip(('train', 'val', 'test'), accumulate(size[:3], initial=1), strict=False):
            pictures = list(scenes(split, size, len(VOC2007_CATEGORIES)))
            names[split] = [f'{prefix}{before + index:06d}' for index in range(len(pictures))]
            for name, scene in zip(names[split], pictures, strict=True):
                write_jpeg(folder / 'JPEGImages' / f'{name}.jpg', scene)
                if (year, split) != (2012, 'test'):
                    ElementTree.ElementTree(_voc_annotation(f'{name}.jpg', scene, VOC2007_CATEGORIES, objects)).write(
                        folder / 'Annotations' / f'{name}.xml'
                    )
                objects += len(scene.labels)
        names['trainval'] = names['train'] + names['val']
        for split, ids in names.items():
            (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(ids) + '\n')


def _voc_annotation(filename: str, scene: Scene, categories: Sequence[str], objects: int) -> ElementTree.Element:
    height, width, depth = scene.image.shape
    root = ElementTree.Element('annotation')
    _add(root, filename=filename)
    _add(ElementTree.SubElement(root, 'size'), width=width, height=height, depth=depth)
    for number, (label, box) in enumerate(zip(scene.labels, scene.boxes, strict=True), start=objects):
        item = ElementTree.SubElement(root, 'object')
        _add(item, name=categories[label], truncated=0, difficult=int(number % 5 == 4))
        # VOC counts pixels from 1 and includes the last one
        xmin, ymin, xmax, ymax = box[0] + 1, box[1] + 1, box[2], box[3]
        _add(ElementTree.SubElement(item, 'bndbox'), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    return root


def _add(parent: ElementTree.Element, **values) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def write_nus_wide(root: Path, size: Size) -> None:
    """Write train and test of NUS-WIDE, each with an additional image without labels. The concept zebra has no image.

    ::

        nus_wide
        ├── nus_wid_data.csv                 filepath,label,split_name
        ├── images                           0001_train.jpg, ...
        ├── ConceptsList/Concepts81.txt
        ├── Groundtruth/TrainTestLabels      Labels_sky_Train.txt, Labels_sky_Test.txt, ...
        ├── ImageList                        TrainImagelist.txt, TestImagelist.txt
        └── Flickr/digits                    0001_train.jpg, ...
    """
    from mmasl.datasets.nus_wide import CONCEPTS

    labels_folder = root / 'Groundtruth' / 'TrainTestLabels'
    for folder in (labels_folder, root / 'ConceptsList', root / 'ImageList'):
        folder.mkdir(parents=True)
    (root / 'ConceptsList' / 'Concepts81.txt').write_text('\n'.join(CONCEPTS) + '\n')
    rows = []
    for split in ('train', 'test'):
        pictures = [*scenes(split, size), unlabelled_scene(split, size)]
        names = [f'{number:04d}_{split}.jpg' for number in range(1, len(pictures) + 1)]
        for name, scene in zip(names, pictures, strict=True):
            for folder in ('images', 'Flickr/digits'):
                write_jpeg(root / folder / name, scene)
            concepts = [CONCEPTS[label] for label in sorted(set(scene.labels))]
            if concepts:
                rows.append((f'images/{name}', str(concepts), {'train': 'train', 'test': 'val'}[split]))
        part = split.capitalize()
        for label, concept in enumerate(CONCEPTS):
            digits = ''.join(f'{int(label in scene.labels)}\n' for scene in pictures)
            (labels_folder / f'Labels_{concept}_{part}.txt').write_text(digits)
        lines = ''.join(f'digits\\{name}\n' for name in names)
        (root / 'ImageList' / f'{part}Imagelist.txt').write_text(lines)
    with open(root / 'nus_wid_data.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([('filepath', 'label', 'split_name'), *rows])


def write_open_images(root: Path, size: Size) -> None:
    """Write the three splits of Open Images V6. All positives are verified, and about one in 16 of the negatives.

    ::

        open_images
        ├── oidv6-class-descriptions.csv                        48 classes
        ├── oidv6-classes-trainable.txt                         40 of them
        ├── oidv6-train-annotations-human-imagelabels.csv
        ├── validation-annotations-human-imagelabels.csv
        ├── test-annotations-human-imagelabels.csv
        └── train, validation, test                             0000000000010000.jpg, ...
    """
    names = [f'/m/0{label:04x}' for label in range(NUM_CLASSES)]
    rows = [f'{name},{CLASSES[label]}' for label, name in enumerate(names)]
    (root / 'oidv6-class-descriptions.csv').write_text('\n'.join(['LabelName,DisplayName', *rows]) + '\n')
    (root / 'oidv6-classes-trainable.txt').write_text('\n'.join(names[:NUM_TRAINABLE]) + '\n')
    for number, (split, file) in enumerate(_OPEN_IMAGES_FILES.items(), start=1):
        lines = ['ImageID,Source,LabelName,Confidence']
        pictures = scenes('val' if split == 'validation' else split, size, NUM_TRAINABLE)
        for index, scene in enumerate(pictures):
            image = f'{number * 2**16 + 257 * index:016x}'
            write_jpeg(root / split / f'{image}.jpg', scene)
            for label, name in enumerate(names):
                if label in scene.labels:
                    lines.append(f'{image},verification,{name},1')
                elif (index + 5 * label) % 16 == 0:
                    lines.append(f'{image},crowdsource-verification,{name},0')
        (root / file).write_text('\n'.join(lines) + '\n')


def write_herbarium(root: Path, size: Size) -> None:
    """Write ``train`` of Herbarium 2020 with a digit per image; the labels of its test images are not published.

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


def write_own_pictures(root: Path, size: Size) -> None:
    """Write the three splits of a user's own pictures. Every second one has an ignored label, written as ``?name``.

    ::

        own_pictures
        ├── labels.csv        file,labels,split
        └── pictures
            ├── tall          train_0001.jpg, ...
            └── wide          train_0000.jpg, ...
    """
    rows = []
    for split in SPLITS:
        for number, scene in enumerate(scenes(split, size, num_classes=len(OWN_CLASSES))):
            file = f'{("wide", "tall")[number % 2]}/{split}_{number:04d}.jpg'
            write_jpeg(root / 'pictures' / file, scene)
            labels = sorted({OWN_CLASSES[label] for label in scene.labels})
            unknown = next(name for name in OWN_CLASSES if name not in labels)
            rows.append((file, ';'.join([*labels, f'?{unknown}'] if number % 2 else labels), split))
    with open(root / 'labels.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([('file', 'labels', 'split'), *rows])


WRITERS = {
    'coco': write_coco,
    'voc': write_voc,
    'nus_wide': write_nus_wide,
    'open_images': write_open_images,
    'herbarium': write_herbarium,
    'own_pictures': write_own_pictures,
}
