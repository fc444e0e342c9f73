"""A user's own pictures in miniature: a CSV file with the names of the labels, and pictures in two subfolders."""

import csv
from pathlib import Path

from mmasl.datasets.miniatures.scenes import SPLITS, Size, scenes, write_jpeg

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


def write(root: Path, size: Size) -> None:
    """Write the three splits. Every second picture has one ignored label, which the file writes as ``?name``.

    ::

        own_pictures
        ├── labels.csv        file,labels,split
        └── pictures
            ├── tall          train_0001.jpg, ...
            └── wide          train_0000.jpg, ...
    """
    rows = []
    for split in SPLITS:
        for number, scene in enumerate(scenes(split, size, num_classes=len(CLASSES))):
            file = f'{("wide", "tall")[number % 2]}/{split}_{number:04d}.jpg'
            write_jpeg(root / 'pictures' / file, scene)
            labels = sorted({CLASSES[label] for label in scene.labels})
            unknown = next(name for name in CLASSES if name not in labels)
            rows.append((file, ';'.join([*labels, f'?{unknown}'] if number % 2 else labels), split))
    with open(root / 'labels.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([('file', 'labels', 'split'), *rows])
