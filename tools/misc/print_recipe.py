"""Print the recipe of a classification config in words, and say where it differs from that of the paper.

Example:
    python tools/misc/print_recipe.py configs/coco_multilabel/tresnet-l-asl_1xb128_coco14-448px.py
    python tools/misc/print_recipe.py CONFIG --cfg-options model.head.loss.gamma_neg=2 --strict
"""

import sys

from mmasl.cli.flags import config_parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = config_parser('Print the recipe of a classification config, and where it differs from the paper.')
    parser.add_argument('--strict', action='store_true', help='fail if anything differs')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

from collections.abc import Callable
from typing import NamedTuple

from mmengine.config import Config, ConfigDict

from mmasl.cli import preflight
from mmasl.cli.components import type_name
from mmasl.cli.run import read_config
from mmasl.engine.check_classes import innermost

SCRIPT = "authors' script"


class Item(NamedTuple):
    """One part of a recipe: a function that describes it, the description of the paper's MS-COCO recipe, its source."""

    describe: Callable[[Config], str]
    paper: str
    source: str


def name_of(node: dict | None) -> str:
    """Return the ``type`` of a component without its scope."""
    return type_name(node.get('type', '')).split('.')[-1] if node else ''


def each(value) -> list[ConfigDict]:
    """Return a dict, or a list of dicts, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def arguments(node: dict, but: tuple[str, ...] = ()) -> str:
    """Return the arguments of a component that are numbers, strings or None, as text."""
    plain = {k: v for k, v in node.items() if k not in ('type', *but) and isinstance(v, int | float | str | None)}
    return ', '.join(f'{key}={value:g}' if type(value) is float else f'{key}={value}' for key, value in plain.items())


def optimizer(cfg: Config) -> str:
    optimizer = cfg.optim_wrapper.optimizer
    return f'{name_of(optimizer)} ({arguments(optimizer)})'


def weight_decay(cfg: Config) -> str:
    paramwise, decay = cfg.optim_wrapper.get('paramwise_cfg') or {}, cfg.optim_wrapper.optimizer.get('weight_decay', 0)
    if not decay:
        return 'none'
    spared = [key for key in ('bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult') if paramwise.get(key) == 0]
    without = {'bias_decay_mult', 'flat_decay_mult'} <= set(spared)
    where = 'not on biases and 1-d parameters' if without else f'spared: {", ".join(spared) or "nothing"}'
    kind = 'L2 term of the gradient' if name_of(cfg.optim_wrapper.optimizer) in ('Adam', 'SGD') else 'decoupled'
    return f'{decay:g}, {kind}, {where}'


def schedule(cfg: Config) -> str:
    parts = []
    for node in each(cfg.get('param_scheduler')):
        unit = 'iteration' if node.get('convert_to_iter_based') or not node.get('by_epoch', True) else 'epoch'
        if name_of(node).startswith('OneCycle'):
            what = 'beta1' if name_of(node).endswith('Momentum') else 'lr'
            length = node.get('end', cfg.train_cfg.get('max_epochs'))
            parts.append(
                f'one cycle of {length} epochs on {what}, turning at {node.get("pct_start", 0.3):g}, by {unit}'
            )
        else:
            parts.append(f'{name_of(node)} ({arguments(node)}), by {unit}')
    return '; '.join(parts) or 'constant'


def epochs(cfg: Config) -> str:
    trained = cfg.train_cfg.get('max_epochs')
    return f'{trained} epochs' if trained else f'{cfg.train_cfg.get("max_iters")} iterations'


def averaging(cfg: Config) -> str:
    for hook in each(cfg.get('custom_hooks')):
        if name_of(hook) == 'EMAHook':
            decay = 1 - hook.get('momentum', 0.0002)
            extent = 'weights and buffers' if hook.get('update_buffers') else 'weights'
            raw = ', the raw ones evaluated too' if hook.get('evaluate_on_origin') else ''
            return f'{hook.get("ema_type", "ExponentialMovingAverage")} of decay {decay:g} over {extent}{raw}'
    return 'none'


def batch(cfg: Config) -> str:
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    return f'{cfg.train_dataloader.batch_size} a process; the lr is for {base}'


def precision(cfg: Config) -> str:
    return 'mixed' if name_of(cfg.optim_wrapper) == 'AmpOptimWrapper' else 'float32'


def inputs(cfg: Config) -> str:
    pre = {**(cfg.get('data_preprocessor') or {}), **(cfg.model.get('data_preprocessor') or {})}
    mean, std = list(pre.get('mean') or []), list(pre.get('std') or [])
    scaled = '[0, 1]' if not any(mean) and set(std) == {255.0} else f'mean {mean}, std {std}'
    return f'{"RGB" if pre.get("to_rgb") else "BGR"}, {scaled}'


def pipeline(loader: str) -> Callable[[Config], str]:
    """Return a function that describes the transforms of a data loader, without loading and packing."""

    def describe(cfg: Config) -> str:
        dataset = next(innermost(cfg[loader].dataset))
        parts = [
            f'{name_of(node)}({arguments(node)})'
            for node in dataset.pipeline
            if name_of(node) not in ('LoadImageFromFile', 'PackInputs')
        ]
        return ', '.join(parts) or 'none'

    return describe


def loss(cfg: Config) -> str:
    node = cfg.model.head.loss
    return f'{name_of(node)} ({arguments(node)})'


def backbone(cfg: Config) -> str:
    node = cfg.model.backbone
    checkpoint = node.init_cfg.get('checkpoint') if isinstance(node.get('init_cfg'), dict) else None
    start = checkpoint or ('its weights' if node.get('pretrained') else 'random weights')
    return f'{node.get("model_name") or name_of(node)}, from {start}'


def head(cfg: Config) -> str:
    return ' + '.join(name_of(node) for node in (cfg.model.get('neck'), cfg.model.head) if node)


def data(cfg: Config) -> str:
    dataset = cfg.train_dataloader.dataset
    return f'{name_of(dataset)} ({arguments(dataset, but=("data_root",))})'


CYCLE = 'one cycle of 80 epochs on {}, turning at 0.2, by iteration'
RECIPE = {
    'optimizer': Item(optimizer, 'Adam (lr=0.0001, weight_decay=0.0001)', SCRIPT),
    'weight decay': Item(weight_decay, '0.0001, L2 term of the gradient, not on biases and 1-d parameters', SCRIPT),
    'schedule': Item(schedule, f'{CYCLE.format("lr")}; {CYCLE.format("beta1")}', SCRIPT),
    'length': Item(epochs, '41 epochs', f'{SCRIPT}, which leaves its 80 after epoch index 40'),
    'averaging': Item(
        averaging,
        'ExponentialMovingAverage of decay 0.9997 over weights and buffers, the raw ones evaluated too',
        SCRIPT,
    ),
    'batch': Item(batch, '128 a process; the lr is for 128', SCRIPT),
    'precision': Item(precision, 'mixed', SCRIPT),
    'inputs': Item(inputs, 'RGB, [0, 1]', f'{SCRIPT}, issue 42'),
    'training images': Item(
        pipeline('train_dataloader'), 'SquishResize(scale=448), Cutout(factor=0.5), RandAugment()', SCRIPT
    ),
    'test images': Item(pipeline('test_dataloader'), 'SquishResize(scale=448)', SCRIPT),
    'data': Item(
        data,
        'CocoMultiLabel (ann_file=annotations/instances_train2014.json, data_prefix=train2014)',
        'section 4.1.1',
    ),
    'backbone': Item(backbone, 'tresnet_l.miil_in1k, from its weights', 'section 4.1.1, issue 29'),
    'head': Item(head, 'GlobalAveragePooling + MultiLabelLinearClsHead', SCRIPT),
    'loss': Item(loss, 'AsymmetricLoss (gamma_pos=0, gamma_neg=4, clip=0.05)', 'Table 2'),
}
# Notes on what cannot be compared, printed every time.
REMARKS = (
    'the gradient is the full one of Eq. 8; the script does not differentiate the focusing weight (detach_focus=True)',
    "the paper's text has a peak lr of about 2e-4, the script 1e-4",
    'the script reports the better of averaged and raw weights of its best epoch; mmasl reports each separately',
)


def departures(cfg: Config) -> dict[str, str]:
    """Return the description of each item in which ``cfg`` differs from the paper's recipe."""
    found = {name: item.describe(cfg) for name, item in RECIPE.items()}
    return {name: words for name, words in found.items() if words != RECIPE[name].paper}


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    if 'head' not in cfg.get('model', {}):
        raise UserError(f'{args.config}: expected a classifier (model.head); recipes of detectors are not compared')
    for job in ('train', 'test'):
        preflight.check_sections(cfg, job)
    other = departures(cfg)
    for name, item in RECIPE.items():
        print(f'{name}: {item.describe(cfg)}')
    found = f'{len(other)} of {len(RECIPE)} differ' if other else 'Nothing differs'
    print(f'\n{found} from the recipe for MS-COCO{":" if other else "."}')
    for name, words in other.items():
        print(f'warning: {name}: {words}; expected {RECIPE[name].paper} [{RECIPE[name].source}]')
    for remark in REMARKS:
        print(f'note: {remark}')
    if other and args.strict:
        raise UserError(f'{args.config} differs from the paper in {", ".join(other)}')


if __name__ == '__main__':
    sys.exit(main())
