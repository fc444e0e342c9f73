"""Write the inputs of the last layer of an MMPretrain classifier as features, on which losses can be compared.

Every split goes through the test pipeline. Finished shards are kept, so an interrupted run continues where it stopped.
`configs/features/` and `tools/studies/choose_loss.py` read the folder.
"""

import sys
from pathlib import Path

from mmasl.cli.flags import config_parser, usable_device
from mmasl.errors import UserError, command, positive

SPLITS = ('train', 'val', 'test')


def parse_args(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--checkpoint', help='weights (default: those from which the config starts training)')
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=SPLITS)
    parser.add_argument('--batch-size', type=positive, default=32)
    parser.add_argument('--workers', type=int, default=2, help='processes that load pictures')
    parser.add_argument('--shard', type=positive, default=4096, help='samples per file')
    parser.add_argument('--flip', action='store_true', help='mirror the pictures')
    parser.add_argument('--amp', action='store_true', help='use bfloat16, which is faster if the processor supports it')
    parser.add_argument('--device', type=usable_device, help='where to run')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import copy
import hashlib
import json

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from mmasl.cli import checkpoints, preflight
from mmasl.cli import run as cli
from mmasl.datasets.features import INDEX
from mmasl.engine.check_classes import innermost
from mmasl.files import atomic_file, write_json


def build_dataset(cfg: Config, split: str) -> Dataset:
    """Return the data set of ``split`` with the pipeline of the test data."""
    loaders = [cfg.get(f'{name}_dataloader') for name in (split, 'test')]
    if None in loaders:
        raise UserError(f'{cfg.filename} needs a {split}_dataloader, and a test_dataloader for the pipeline')
    dataset, test = (copy.deepcopy(next(innermost(loader.dataset))) for loader in loaders)
    dataset.update(pipeline=test.pipeline, test_mode=True)
    return DATASETS.build(dataset)


def build_model(cfg: Config, args) -> torch.nn.Module:
    """Return the model, on its device, with the weights of the checkpoint or those that the config names."""
    if args.checkpoint is None:
        model = get_model(cfg, pretrained=None)
        model.init_weights()
    else:
        checkpoint = checkpoints.read(args.checkpoint, '--checkpoint')
        model = get_model(cfg, args.checkpoint)
        checkpoints.check_fit(model, checkpoint, args.checkpoint, complete=False)
    return model.to(args.device or get_device()).eval()


def digest(cfg: Config, model: torch.nn.Module) -> str:
    """Return a digest of preprocessing, data and the weights before the last layer, on which features depend."""
    loaders = [f'{split}_dataloader' for split in SPLITS]
    parts = [str(cfg.get(key)).encode() for key in ('model', 'data_preprocessor', *loaders)]
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith('head.')}
    parts += [value.cpu().numpy().tobytes() for _, value in sorted(weights.items())]
    return hashlib.sha256(b''.join(parts)).hexdigest()[:12]


@torch.no_grad()
def extract(
    model: torch.nn.Module, batch: dict, amp: bool = False, flip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(N, D)`` and targets ``(N, C)`` of a batch."""
    data = model.data_preprocessor(batch, training=False)
    inputs = data['inputs'].flip(-1) if flip else data['inputs']
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
        features = model.extract_feat(inputs, stage='pre_logits')
    features = features[-1] if isinstance(features, tuple | list) else features
    if features.ndim != 2:
        raise UserError(f'model.head: expected vectors (N, D) before its last layer, got {tuple(features.shape)}')
    targets = np.zeros((len(features), model.head.num_classes), np.float32)
    for row, sample in zip(targets, data['data_samples'], strict=True):
        if 'gt_score' in sample:
            row[:] = sample.gt_score.cpu().numpy()
        else:
            row[sample.gt_label.cpu().numpy()] = 1
    if not np.isin(targets, (-1, 0, 1)).all():
        raise UserError('gt_score: expected 1, 0 and -1 (unknown), got soft labels, which features cannot have')
    return features.float().cpu().numpy(), targets.astype(np.int8)


def write_array(path: Path, array: np.ndarray) -> None:
    with atomic_file(path) as part, open(part, 'wb') as file:
        np.save(file, array)


def write_split(model: torch.nn.Module, dataset: Dataset, split: str, args) -> list[str]:
    """Write the missing shards of ``split``, and return the names of all shards."""
    names, starts = [], range(0, len(dataset), args.shard)
    for number, start in enumerate(tqdm(starts, desc=split, unit='shard', disable=None)):
        names.append(f'{split}_{number:05d}')
        paths = [Path(args.out, f'{names[-1]}_{name}.npy') for name in 'xy']
        part = Subset(dataset, range(start, min(start + args.shard, len(dataset))))
        if all(path.is_file() and len(np.load(path, mmap_mode='r')) == len(part) for path in paths):
            continue
        loader = DataLoader(part, args.batch_size, num_workers=args.workers, collate_fn=default_collate)
        arrays = zip(*[extract(model, batch, args.amp, args.flip) for batch in loader], strict=True)
        for path, parts in zip(paths, arrays, strict=True):
            write_array(path, np.concatenate(parts))
    return names


def check_same(args, spec: dict) -> None:
    """Raise if the folder has features of other weights, other data or another shard size."""
    index = Path(args.out, INDEX)
    began = json.loads(index.read_text())['spec'] if index.is_file() else None
    if began not in (None, spec):
        raise UserError(f'{args.out} has features of {began} and not of {spec}; choose another folder')


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cfg = cli.read_config(args.config, args.cfg_options)
        preflight.check_scope(cfg)
        if cfg.get('default_scope') != 'mmpretrain':
            raise UserError(f'{args.config}: expected a classifier of MMPretrain, got {cfg.get("default_scope")}')
        checkpoints.check_pretrained(cfg)
        spec = dict(config=cfg.filename, options=str(args.cfg_options), checkpoint=args.checkpoint, shard=args.shard)
        spec.update(amp=args.amp, flip=args.flip)
        model = build_model(cfg, args)
        spec['digest'] = digest(cfg, model)
        check_same(args, spec)
        datasets = {split: build_dataset(cfg, split) for split in args.splits}
        classes = datasets[args.splits[0]].metainfo.get('classes') or range(model.head.num_classes)
        index = Path(args.out, INDEX)
        shards = json.loads(index.read_text())['shards'] if index.is_file() else {}
        content = dict(spec=spec, classes=[str(name) for name in classes], shards=shards)
        write_json(index, content)  # the specification comes before the first shard
        for split, dataset in datasets.items():
            shards[split] = write_split(model, dataset, split, args)
            write_json(index, content)
    sizes = ', '.join(f'{split} {len(dataset)}' for split, dataset in datasets.items())
    print(f'done: {sizes} samples in {args.out}')


if __name__ == '__main__':
    sys.exit(main())
