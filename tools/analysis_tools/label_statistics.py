"""Count the labels in the training set of a config, and propose the losses to try first.

    python tools/analysis_tools/label_statistics.py configs/digit_scenes/digitnet-ce_ft-1xb16_digitscenes-48px.py

The command reads multi-label, single-label and detection configs. It prints the statistics, and the proposed losses
with the reasons. It writes ``label_statistics`` as .json, .png and .svg into ``--out``, and as a .csv with one row per
class. It cannot predict accuracy; only trials on your own data can tell.
"""

import argparse
import sys
from pathlib import Path

from mmasl.cli.flags import config_parser
from mmasl.errors import UserError, command, positive


def parse_args(argv=None):
    parser = config_parser(__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=positive, default=100_000, help='largest number of images to read (100,000)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/analysis'), help='folder of the results (default: %(default)s)'
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import csv
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from tqdm import tqdm

from mmasl.analysis import LabelStatistics, count_labels, starting_ladder
from mmasl.analysis.report import pyplot, save_figure
from mmasl.cli.components import type_name, walk
from mmasl.cli.run import read_config
from mmasl.files import write_json


def build_dataset(cfg: Config):
    """Return the training set of the config without its pipelines, so that images may be missing."""
    for _, node in walk(cfg.train_dataloader.dataset):
        if 'pipeline' in node:
            node.pipeline = []
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    return DATASETS.build(cfg.train_dataloader.dataset)


def is_detection(cfg: Config) -> bool:
    """Return whether the config trains a detector: then one of its loading pipelines packs boxes."""
    names = [
        type_name(node['type']).rsplit('.', 1)[-1] for _, node in walk(cfg.train_dataloader.dataset) if 'type' in node
    ]
    return 'PackDetInputs' in names


def read_samples(dataset, most: int) -> Iterator[dict]:
    """Yield the annotations of all images, or of ``most`` evenly spaced images if there are more."""
    number = len(dataset)
    chosen = range(number) if number <= most else np.linspace(0, number - 1, most).astype(int).tolist()
    if number > most:
        print(f'reading {most:,} of {number:,} images; --images sets how many', flush=True)
    for index in tqdm(chosen, unit=' images', disable=None):  # None shows the bar on terminals only
        yield dataset.get_data_info(index)


def describe(figures: dict) -> str:
    """Return the statistics as text, one per line."""
    return '\n'.join(
        f'{name.replace("_", " "):>32}  {"-" if value is None else value}' for name, value in figures.items()
    )


def draw(statistics: LabelStatistics, path: Path) -> None:
    """Draw the frequencies of the classes and the labels per image as ``path``.png and ``path``.svg."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(8, 3))
    what = 'boxes' if statistics.kind == 'detection' else 'images'
    left.bar(range(1, len(statistics.positive) + 1), np.sort(statistics.positive)[::-1], width=1.0)
    left.set(xlabel='classes, by frequency', ylabel=what, yscale='log' if statistics.positive.any() else 'linear')
    values, counts = np.unique(statistics.labels_per_image, return_counts=True)
    right.bar(values, counts, width=0.9)
    right.set(xlabel=f'{"boxes" if statistics.kind == "detection" else "labels"} of an image', ylabel='images')
    figure.tight_layout()
    save_figure(figure, path)


def write_classes(statistics: LabelStatistics, names, path: Path) -> None:
    """Write one row per class."""
    negative = statistics.negative
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['class', 'positive', 'ignored', 'negative', 'positive_negative_ratio'])
        for index, name in enumerate(names):
            positive, ignored = int(statistics.positive[index]), int(statistics.ignored[index])
            rest = ('', '') if negative is None else (int(negative[index]), positive / max(int(negative[index]), 1))
            writer.writerow([name, positive, ignored, *rest])


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    if not cfg.get('train_dataloader'):
        raise UserError(f'{args.config} has no train_dataloader')
    detection = is_detection(cfg)
    dataset = build_dataset(cfg)
    names = getattr(dataset, 'metainfo', {}).get('classes')
    if names is None:
        raise UserError('train_dataloader.dataset: the data set does not name its classes; set its metainfo')
    try:
        statistics = count_labels(read_samples(dataset, args.images), len(names), detection)
    except ValueError as error:
        raise UserError(f'train_dataloader.dataset: {error}') from error
    figures = statistics.summary()
    ladder = starting_ladder(figures)
    path = args.out / 'label_statistics'
    write_json(path.with_suffix('.json'), dict(config=args.config, **figures, ladder=ladder))
    write_classes(statistics, names, path.with_suffix('.csv'))
    draw(statistics, path)
    print(f'\n\n{describe(figures)}\n\nLosses to try, each with its own learning rate:')
    for number, step in enumerate(ladder, start=1):
        print(f'{number}. {step["name"]}: {step["reason"]}\n   loss={step["loss"]}')
    print(f'\nwrote {path}.json, .csv, .png and .svg')


if __name__ == '__main__':
    sys.exit(main())
