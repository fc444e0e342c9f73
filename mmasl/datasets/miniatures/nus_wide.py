"""NUS-WIDE in miniature, as the authors' CSV file and as the original concept files of the same pictures."""

import csv
from pathlib import Path

from mmasl.datasets.miniatures.scenes import Size, scenes, unlabelled_scene, write_jpeg
from mmasl.datasets.nus_wide import CONCEPTS


def write(root: Path, size: Size) -> None:
    """Write train and test, each with one additional image without labels. The 81st concept, zebra, has no image.

    ::

        nus_wide
        ├── nus_wid_data.csv                 filepath,label,split_name
        ├── images                           0001_train.jpg, ...
        ├── ConceptsList/Concepts81.txt
        ├── Groundtruth/TrainTestLabels      Labels_sky_Train.txt, Labels_sky_Test.txt, ...
        ├── ImageList                        TrainImagelist.txt, TestImagelist.txt
        └── Flickr/digits                    0001_train.jpg, ...
    """
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
