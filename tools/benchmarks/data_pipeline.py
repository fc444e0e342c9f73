"""Measure images per second and core of the MS-COCO pipeline at 448 pixels and of its peers, on the same JPEGs.

There are two jobs: without augmentation (load, resize, convert to a tensor) and with it. The JPEGs show DigitScenes at
640×480 and 480×640 pixels, and their files are as large as those of MS-COCO. Contenders take turns. The fastest repeat
of each image counts, in CPU seconds of one thread, since other programs may use the machine; all repeats draw the same
random numbers. Then each transform of our pipeline is timed. The command stores the run and prints tables.

    python tools/benchmarks/data_pipeline.py
    python tools/benchmarks/data_pipeline.py --images '~/data/coco/val2014/*.jpg' --number 200
"""

import argparse
import glob
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms as tv
from loss_report import RESULTS, keep_run, machine
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from timm.data import create_transform
from tqdm import tqdm

from mmasl.analysis.report import table
from mmasl.datasets.miniatures.scenes import Size, scenes

SIDE = 448
CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/pipelines/asl_448.py'
LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
UPSTREAM = {
    'plain': {'MMPretrain, Resize': [dict(type='Resize', scale=(SIDE, SIDE))]},
    'augmented': {
        # the pipeline of most of its configs
        'MMPretrain, default': [
            dict(type='RandomResizedCrop', scale=SIDE),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        ],
        'MMPretrain, the same steps': [
            dict(type='Resize', scale=(SIDE, SIDE)),
            dict(type='Cutout', shape=SIDE // 2, prob=1.0),
            dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=9),
        ],
    },
}


def mmcv_pipeline(transforms):
    steps = [TRANSFORMS.build(dict(step)) for step in transforms]

    def run(path):
        results = dict(img_path=path, gt_label=[1, 2])
        for step in steps:
            results = step(results)
        return results['inputs']

    run.steps = steps
    return run


def pillow_pipeline(transform):
    return lambda path: transform(Image.open(path).convert('RGB'))


def contenders():
    """Return ``{job: {name: function of a path}}``; ours comes first in each job."""
    config = Config.fromfile(CONFIG)
    jobs = {
        'plain': {'mmasl': mmcv_pipeline(config.test_pipeline)},
        'augmented': {'mmasl': mmcv_pipeline(config.train_pipeline)},
    }
    for job, pipelines in UPSTREAM.items():
        for name, steps in pipelines.items():
            jobs[job][name] = mmcv_pipeline([LOAD, *steps, PACK])
    resize = tv.Resize((SIDE, SIDE))
    jobs['plain']['torchvision'] = pillow_pipeline(tv.Compose([resize, tv.PILToTensor()]))
    timm = create_transform(SIDE, crop_pct=1.0, crop_mode='squash', normalize=False)
    jobs['plain']['timm'] = pillow_pipeline(timm)
    erase = tv.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    steps = [resize, tv.RandAugment(), tv.PILToTensor(), erase]
    jobs['augmented']['torchvision, the same steps'] = pillow_pipeline(tv.Compose(steps))
    timm = create_transform(SIDE, is_training=True, auto_augment='rand-m9-n2-p0.5', normalize=False, re_prob=1.0)
    jobs['augmented']['timm, its RandAugment'] = pillow_pipeline(timm)
    return jobs


def fastest(functions, paths, repeats):
    """Return ``{name: CPU seconds of each image}``, in the fastest of the repeats."""
    best = {name: np.full(len(paths), np.inf) for name in functions}
    for repeat in range(repeats + 1):  # the first one warms up
        for index, path in enumerate(paths):
            for name, function in functions.items() if repeat % 2 else reversed(functions.items()):
                random.seed(index), np.random.seed(index), torch.manual_seed(index)
                start = time.process_time()
                output = function(path)
                seconds = time.process_time() - start
                assert output.shape == (3, SIDE, SIDE), (name, output.shape)
                if repeat:
                    best[name][index] = min(best[name][index], seconds)
    return best


def profile(pipeline, paths, repeats):
    """Return ``{transform: mean CPU seconds}`` over the images, each in the fastest of its repeats."""
    best = {type(step).__name__: np.full(len(paths), np.inf) for step in pipeline.steps}
    for _ in range(repeats):
        for index, path in enumerate(paths):
            np.random.seed(index)
            results = dict(img_path=path, gt_label=[1, 2])
            for step in pipeline.steps:
                start = time.process_time()
                results = step(results)
                name = type(step).__name__
                best[name][index] = min(best[name][index], time.process_time() - start)
    return {name: float(seconds.mean()) for name, seconds in best.items()}


def generate(folder, number):
    """Write JPEGs with the shapes of MS-COCO's, and at a quality that gives about their file size."""
    paths = []
    for index, scene in enumerate(tqdm(scenes('val', Size(val=number, side=480)), total=number, desc='JPEGs')):
        paths.append(f'{folder}/{index}.jpg')
        Image.fromarray(scene.image).save(paths[-1], quality=97)
    return paths


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', help='pattern of JPEG files to use instead of generated ones')
    parser.add_argument('--number', type=int, default=160)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    args = parser.parse_args(argv)
    if args.images and not glob.glob(os.path.expanduser(args.images)):
        parser.error(f'--images: no file matches {args.images}')
    return args


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.images:
            paths = sorted(glob.glob(os.path.expanduser(args.images)))[: args.number]
        else:
            paths = generate(folder, args.number)
        rows = []
        jobs = contenders()
        for job, functions in jobs.items():
            best = fastest(functions, paths, args.repeats)
            ours = best['mmasl'].mean()
            for name, seconds in best.items():
                speed = 1 / seconds.mean()
                rows.append(dict(job=job, contender=name, images_per_second=speed, ratio=seconds.mean() / ours))
        parts = profile(jobs['augmented']['mmasl'], paths, args.repeats)
        kib = float(np.mean([os.path.getsize(path) for path in paths])) / 1024
    result = dict(machine=machine('cpu', 1), images=len(paths), mean_kib=kib, rows=rows, profile=parts)
    keep_run(args.out, 'data_pipeline', result)
    print(f'{len(paths)} JPEGs of {kib:.0f} KiB on average; images per second of one core\n')
    keys = 'images_per_second', 'ratio'
    body = [[f'{row["job"]}: {row["contender"]}', *(f'{row[key]:.2f}' for key in keys)] for row in rows]
    print(table(['', 'images/s', "mmasl's speed ÷ its"], body))
    print('\n' + table(['transform of mmasl', 'ms'], [[name, f'{1000 * s:.2f}'] for name, s in parts.items()]))


if __name__ == '__main__':
    main()
