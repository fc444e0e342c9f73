"""Measure the time and the memory that it takes to load annotations as large as the published ones.

The annotations are generated, and each case loads them in its own process:

- MS-COCO: an instances file with 82,081 images and 604,907 objects with outlines, as large as that of train2014.
- Open Images: 1,000,000 images with 6.6 verified labels each; they are also loaded in the form that MMPretrain stores.

The command stores the run and prints a table.

    python tools/benchmarks/data_loading.py
    python tools/benchmarks/data_loading.py --images 9000000 --cases open_images       # the whole of Open Images V6
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from loss_report import RESULTS, keep_run, machine

from mmasl.analysis.report import table

NUM_CLASSES = 9605
CASES = ('coco', 'open_images', 'open_images_as_mmpretrain')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=CASES)
    parser.add_argument('--coco-images', type=int, default=82081)
    parser.add_argument('--coco-objects', type=int, default=604907)
    parser.add_argument('--images', type=int, default=1_000_000, help='images of the generated Open Images')
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    parser.add_argument('--child', nargs=2, metavar=('CASE', 'ROOT'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def generate_coco(root: Path, images: int, objects: int) -> int:
    """Write an instances file with 548 bytes per object, as in train2014, and return its size in bytes."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(600_000, images, replace=False))
    categories = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    owner = np.concatenate([np.arange(images), rng.integers(0, images, objects - images)])
    label, area = rng.choice(categories, objects), np.exp(rng.normal(8, 2, objects))
    outline = [[round(x, 2) for x in rng.random(52).tolist()] for _ in range(100)]
    with open(root / 'instances.json', 'w') as file:
        listed = [dict(id=int(i), file_name=f'COCO_train2014_{i:012d}.jpg', height=480, width=640) for i in ids]
        names = [dict(id=i, name=f'category {i}') for i in categories]
        file.write(json.dumps(dict(images=listed, categories=names))[:-1] + ', "annotations": [')
        for i in range(objects):
            annotation = dict(id=i, image_id=int(ids[owner[i]]), category_id=int(label[i]), area=float(area[i]))
            annotation.update(bbox=outline[0][:4], iscrowd=0, segmentation=[outline[i % 100]])
            file.write((', ' if i else '') + json.dumps(annotation))
        file.write(']}')
    (root / listed[0]['file_name']).touch()  # the data set checks that this image exists
    return (root / 'instances.json').stat().st_size


def generate_open_images(root: Path, images: int) -> int:
    """Write classes and verified labels, and return the size of the label file in bytes."""
    rng = np.random.default_rng(0)
    names = [f'/m/0{i:05x}' for i in range(NUM_CLASSES)]
    (root / 'classes.csv').write_text('LabelName,DisplayName\n' + ''.join(f'{name},{name}\n' for name in names))
    with open(root / 'labels.csv', 'w') as file:
        file.write('ImageID,Source,LabelName,Confidence\n')
        image = 0
        for _ in range(images):
            image += int(rng.integers(1, 2**40))
            for label, confidence in zip(
                rng.integers(0, NUM_CLASSES, 1 + rng.poisson(5.6)), rng.random(30), strict=False
            ):
                file.write(f'{image:016x},verification,{names[label]},{int(confidence < 0.4)}\n')
    with open(root / 'labels.csv') as file:
        first = file.readlines(200)[1].split(',')[0]
    (root / f'{first}.jpg').touch()
    return (root / 'labels.csv').stat().st_size


def load(case: str, root: str):
    """Return the data set of a case."""
    from mmpretrain.datasets import MultiLabelDataset

    from mmasl.datasets import CocoMultiLabel, OpenImages

    if case == 'coco':
        return CocoMultiLabel('instances.json', data_root=root)
    files = dict(classes_file='classes.csv', trainable_file=None)
    if case == 'open_images':
        return OpenImages('labels.csv', data_root=root, **files)

    class AsMMPretrain(MultiLabelDataset):
        def load_data_list(self):
            return list(OpenImages('labels.csv', data_root=root, lazy_init=True, **files).load_data_list())

    return AsMMPretrain('labels.csv')


def measure(case: str, root: str) -> dict:
    """Load a data set; return the seconds that it took, and the memory beyond that of the imports."""
    import mmasl.datasets  # noqa: F401

    process = psutil.Process()
    before, wall, cpu = process.memory_info().rss, time.perf_counter(), time.process_time()
    peak_before = peak_memory()
    dataset = load(case, root)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    result = dict(case=case, images=len(dataset), seconds=wall, cpu_seconds=cpu)
    result['held_mib'] = (process.memory_info().rss - before) / 2**20
    result['peak_mib'] = (peak_memory() - min(peak_before, before)) / 2**20
    start = time.perf_counter()
    for index in np.random.default_rng(0).integers(0, len(dataset), 2000):
        dataset.get_data_info(int(index))
    return {**result, 'us_per_sample': (time.perf_counter() - start) / 2000 * 1e6}


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv=None):
    args = parse_args(argv)
    if args.child:
        print(json.dumps(measure(*args.child)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        for case in args.cases:
            name = case.split('_as_')[0]
            root = Path(folder, name)
            if not root.exists():
                root.mkdir()
                if name == 'coco':
                    sizes[name] = generate_coco(root, args.coco_images, args.coco_objects)
                else:
                    sizes[name] = generate_open_images(root, args.images)
            command = [sys.executable, __file__, '--child', case, str(root)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append({**json.loads(done.stdout.splitlines()[-1]), 'file_mib': sizes[name] / 2**20})
    keep_run(args.out, 'data_loading', {'machine': machine('cpu', 1), 'rows': rows})
    keys = ('images', 'file_mib', 'seconds', 'cpu_seconds', 'held_mib', 'peak_mib', 'us_per_sample')
    print(table(['case', *keys], [[row['case'], *(f'{row[key]:,.1f}' for key in keys)] for row in rows]))


if __name__ == '__main__':
    main()
