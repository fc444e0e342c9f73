"""Write DigitScenes as image folders with COCO-format JSON, for tools that read files.

    OUT/
      annotations/instances_train.json  instances_val.json  instances_test.json
      train/000000.png …  val/000000.png …  test/000000.png …

Category ids are class ids + 1, image ids are scene indices. Labels missing by ``missing_rate`` have no annotation.
The folder appears when it is complete: nothing half-written stays behind.

Example:
    python tools/misc/dump_digit_scenes.py data/digit_scenes
    python tools/misc/dump_digit_scenes.py data/missing20 --splits train --options num_scenes=500 missing_rate=0.2
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from mmengine.config import DictAction
from PIL import Image
from tqdm import tqdm

from mmasl.datasets import DigitScenes


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Write DigitScenes as image folders with COCO-format JSON.')
    parser.add_argument('out', type=Path, help='output folder; it must be empty or not exist')
    parser.add_argument('--splits', nargs='+', default=['train', 'val', 'test'], choices=['train', 'val', 'test'])
    parser.add_argument(
        '--options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='arguments of mmasl.DigitScenes, such as num_scenes=500 image_size=96 missing_rate=0.2 (train only)',
    )
    return parser.parse_args(argv)


def coco_annotations(dataset):
    """The COCO-format dict of a dataset; no scene is rendered."""
    images, annotations = [], []
    for info in dataset.load_data_list():
        name = Path(info['img_path']).name
        images.append({'id': info['img_id'], 'file_name': name, 'width': info['width'], 'height': info['height']})
        for instance in info['instances']:
            x1, y1, x2, y2 = instance['bbox']
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': info['img_id'],
                    'category_id': instance['bbox_label'] + 1,
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'iscrowd': 0,
                }
            )
    categories = [{'id': i, 'name': name} for i, name in enumerate(dataset.metainfo['classes'], start=1)]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def dump(datasets, out):
    """Write ``datasets`` ({split: dataset}) into folder ``out``, all or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        partial.chmod(0o755)
        (partial / 'annotations').mkdir()
        for split, dataset in datasets.items():
            (partial / split).mkdir()
            for index in tqdm(range(len(dataset)), desc=split, unit='scene', disable=None):
                info = dataset.get_data_info(index)
                Image.fromarray(info['img'][..., ::-1]).save(partial / split / Path(info['img_path']).name)
            path = partial / 'annotations' / f'instances_{split}.json'
            path.write_text(json.dumps(coco_annotations(dataset)), encoding='utf-8')
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(argv=None):
    args = parse_args(argv)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        sys.exit(f'error: {args.out} exists and is no empty folder; name another one')
    fixed = sorted({'split', 'cache', 'indices', 'pipeline', 'filter_cfg'} & set(args.options))
    if fixed:
        sys.exit(f'error: --options may not set {", ".join(fixed)}; choose splits with --splits')
    try:
        datasets = {}
        for split in dict.fromkeys(args.splits):
            options = {k: v for k, v in args.options.items() if k != 'missing_rate' or split == 'train'}
            datasets[split] = DigitScenes(split=split, cache=False, **options)
        dump(datasets, args.out)
    except (TypeError, ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    for split, dataset in datasets.items():
        print(f'{args.out / split}: {len(dataset)} scenes')


if __name__ == '__main__':
    main()
