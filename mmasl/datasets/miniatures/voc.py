"""Pascal VOC in miniature."""

from itertools import accumulate
from pathlib import Path
from xml.etree import ElementTree

from mmpretrain.datasets.categories import VOC2007_CATEGORIES

from mmasl.datasets.miniatures.scenes import Scene, Size, scenes, write_jpeg


def write(root: Path, size: Size) -> None:
    """Write VOC2007, and VOC2012 whose test images have no annotations. Every fifth object is difficult.

    ::

        VOCdevkit
        ├── VOC2007
        │   ├── Annotations        000001.xml, ...
        │   ├── ImageSets/Main     train.txt, val.txt, trainval.txt, test.txt
        │   └── JPEGImages         000001.jpg, ...
        └── VOC2012                2008_000001.xml, ...
    """
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
                    ElementTree.ElementTree(_annotation(f'{name}.jpg', scene, objects)).write(
                        folder / 'Annotations' / f'{name}.xml'
                    )
                objects += len(scene.labels)
        names['trainval'] = names['train'] + names['val']
        for split, ids in names.items():
            (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(ids) + '\n')


def _annotation(filename: str, scene: Scene, objects: int) -> ElementTree.Element:
    height, width, depth = scene.image.shape
    root = ElementTree.Element('annotation')
    _add(root, filename=filename)
    _add(ElementTree.SubElement(root, 'size'), width=width, height=height, depth=depth)
    for number, (label, box) in enumerate(zip(scene.labels, scene.boxes, strict=True), start=objects):
        item = ElementTree.SubElement(root, 'object')
        _add(item, name=VOC2007_CATEGORIES[label], truncated=0, difficult=int(number % 5 == 4))
        # VOC counts pixels from 1 and includes the last one
        xmin, ymin, xmax, ymax = box[0] + 1, box[1] + 1, box[2], box[3]
        _add(ElementTree.SubElement(item, 'bndbox'), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    return root


def _add(parent: ElementTree.Element, **values) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)
