"""Strip a checkpoint to what inference and fine-tuning need, and add its hash to its name.

The file keeps the weights (those of the moving average if there is one) and, from the meta data, the config, the
classes and the versions. torch can load it safely.

MMPretrain and MMDetection have tools of the same name. With torch 2.6 and later these cannot read a checkpoint of a
training, since torch's safe load refuses MMEngine's message hub.
"""

import sys
from pathlib import Path

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument('target', help='file to write; NAME.pth becomes NAME-HASH.pth')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import hashlib
import io

import torch

from mmasl.cli import checkpoints
from mmasl.files import atomic_file

KEPT = ('cfg', 'dataset_meta', 'epoch', 'iter', 'seed', 'experiment_name', 'time', 'mmengine_version', 'timm_model')


def plain(value):
    """Return ``value`` made of JSON's types only, so that a safe load accepts it."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if hasattr(value, 'tolist'):  # of NumPy and torch
        return value.tolist()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def publish(checkpoint: dict) -> dict:
    """Return the part of ``checkpoint`` that is published."""
    if 'state_dict' not in checkpoint:
        raise UserError('expected a checkpoint with a state_dict and meta data, got raw weights')
    meta = checkpoint.get('meta') or {}
    state = {str(key).removeprefix('module.'): value.detach().cpu() for key, value in checkpoint['state_dict'].items()}
    return dict(meta=plain({key: meta[key] for key in KEPT if key in meta}), state_dict=state)


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    target = Path(args.target)
    if target.suffix != '.pth':
        raise UserError(f'{target}: the name must end in .pth')
    checkpoint = checkpoints.read(args.source, 'source')
    with io.BytesIO() as file:
        torch.save(publish(checkpoint), file)
        content = file.getvalue()
    target = target.with_name(f'{target.stem}-{hashlib.sha256(content).hexdigest()[:8]}.pth')
    with atomic_file(target) as part:
        Path(part).write_bytes(content)
    before = Path(args.source).stat().st_size if Path(args.source).is_file() else 0
    print(f'done: {target}, {len(content):,} bytes of {before:,}')


if __name__ == '__main__':
    sys.exit(main())
