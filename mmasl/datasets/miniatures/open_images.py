"""Open Images V6 in miniature."""

from pathlib import Path

from mmasl.datasets.miniatures.scenes import CLASSES, Size, scenes, write_jpeg

NUM_CLASSES, NUM_TRAINABLE = 48, 40  # the 80 kinds of digits are mapped onto these classes
_ANNOTATIONS = {
    'train': 'oidv6-train-annotations-human-imagelabels.csv',
    'validation': 'validation-annotations-human-imagelabels.csv',
    'test': 'test-annotations-human-imagelabels.csv',
}


def write(root: Path, size: Size) -> None:
    """Write the three splits. The positives of each image are verified, and about one in 16 of its negatives.

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
    for number, (split, file) in enumerate(_ANNOTATIONS.items(), start=1):
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
