"""Write DigitScenes as image folders with COCO-format JSON, for tools that read files.

    OUT/
      annotations/instances_train.json  instances_val.json  instances_test.json
      train/000000.png …  val/000000.png …  test/000000.png …

Category ids are class ids + 1, and image ids are scene indices. Labels that ``missing_rate`` removes have no
annotation. The folder appears only when it is complete, so an interrupted run leaves nothing behind.

Example:
    python tools/misc/dump_digit_scenes.py data/digit_scenes
    python tools/misc/dump_digit_scenes.py data/missing20 --splits train --options num_scenes=500 missing_rate=0.2
"""

import sys
from pathlib import Path

from mmasl.cli.flags import CfgOptions, Parser


def parse_args(argv=None):
    parser = Parser(description='Write DigitScenes as image folders with COCO-format JSON.')
    parser.add_argument('out', type=Path, help='output folder; it must be empty or not exist')
    parser.add_argument('--splits', nargs='+', default=['train', 'val', 'test'], choices=['train', 'val', 'test'])
    parser.add_argument(
        '--options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='arguments of mmasl.DigitScenes, such as num_scenes=500 image_size=96 missing_rate=0.2 (train only)',
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import json

from PIL import Image
from tqdm import tqdm

from mmasl.datasets import DigitScenes
from mmasl.datasets.miniatures.formats import coco_annotation
from mmasl.files import atomic_folder


def coco_annotations(dataset):
    """Return the COCO-format dict of a data set, without rendering a scene."""
    images, annotations = [], []
    for info in dataset.load_data_list():
        name = Path(info['img_path']).name
        images.append({'id': info['img_id'], 'file_name': name, 'width': info['width'], 'height': info['height']})
        for instance in info['instances']:
            category_id = instance['bbox_label'] + 1
            annotations.append(coco_annotation(len(annotations) + 1, info['img_id'], category_id, instance['bbox']))
    categories = [{'id': i, 'name': name} for i, name in enumerate(dataset.metainfo['classes'], start=1)]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def dump(datasets, out):
    """Write ``datasets`` ({split: data set}) into the folder ``out``, all of them or none."""
    with atomic_folder(out) as folder:
        (folder / 'annotations').mkdir()
        for split, dataset in datasets.items():
            (folder / split).mkdir()
            for index in tqdm(range(len(dataset)), desc=split, unit='scene', disable=None):
                info = dataset.get_data_info(index)
                Image.fromarray(info['img'][..., ::-1]).save(folder / split / Path(info['img_path']).name)
            path = folder / 'annotations' / f'instances_{split}.json'
            path.write_text(json.dumps(coco_annotations(dataset)), encoding='utf-8')


def main(argv=None):
    args = parse_args(argv)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        sys.exit(f'error: {args.out} exists and is not an empty folder; choose another one')
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
