"""Pre-train DigitNet on single-digit scenes and write the weights from which the configs of DigitScenes start.

    python tools/misc/pretrain_digit_net.py

The command trains ``configs/digit_scenes/digitnet_pt-1xb64_digitscenes-single-48px.py`` (about three minutes of one
core) and prints the accuracy on the validation split, whose handwriting is not in the training split. It writes the
weights (float16, 0.5 MB, no optimizer) beside the config. ``--cfg-options train_cfg.max_epochs=2`` gives a short run.
"""

import argparse
import sys
from pathlib import Path

from mmasl.cli.flags import CfgOptions, Parser
from mmasl.errors import command

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'digit_scenes'
WEIGHTS = FOLDER / 'digitnet_digitscenes-single-48px.pth'


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=WEIGHTS, help='file for the weights (default: beside the config)')
    parser.add_argument('--work-dir', default='work_dirs/digitnet_pretrain', help='folder for logs and checkpoints')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, help='changes, as key=value')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import torch
from mmengine import Config
from mmengine.runner import Runner

from mmasl.cli.cfg_options import apply_cfg_options
from mmasl.files import atomic_file

CONFIG = FOLDER / 'digitnet_pt-1xb64_digitscenes-single-48px.py'


def export(model: torch.nn.Module, path: Path, accuracy: float) -> None:
    """Write the weights of ``model`` in float16 to ``path``, with their measured accuracy."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    with atomic_file(path) as part:
        torch.save(dict(state_dict=state, meta=dict(config=CONFIG.stem, val_top1=accuracy)), part)


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    config = Config.fromfile(CONFIG)
    config.work_dir = args.work_dir
    config.randomness = dict(seed=args.seed)
    apply_cfg_options(config, args.cfg_options)
    config.train_cfg.val_interval = config.train_cfg.max_epochs  # the last epoch is the one that is kept
    runner = Runner.from_cfg(config)
    runner.train()
    accuracy = float(runner.test()['accuracy/top1'])
    export(runner.model, args.out, accuracy)
    print(f'top-1 accuracy on unseen handwriting: {accuracy:.1f} %; wrote the weights to {args.out}')


if __name__ == '__main__':
    sys.exit(main())
