"""Train a config with several values of its parameters and several seeds, and draw the results.

    CONFIG=configs/digit_scenes/digitnet-asl_ft-1xb16_digitscenes-48px.py
    python tools/studies/ablation.py $CONFIG --paper fig5 fig6 fig7      # ablations of the paper
    python tools/studies/ablation.py $CONFIG --name rates \
        --x param_scheduler.eta_max=0.003,0.01 --lines model.head.loss.gamma_neg=2,4        # an ablation of your own

``--x`` and ``--lines`` take keys as ``--cfg-options`` does. Keys joined by + get the same value. Each finished trial is
kept, so a stopped command continues where it was stopped. Trials run in parallel processes of one thread
(``--workers``), or as Slurm jobs (``--slurm slurm_partition=gpu timeout_min=600``; this needs submitit).

Afterwards, or with ``--report`` at any time, the finished trials are gathered in ``--out``/trials.jsonl, and each
ablation gets a table in ``--out``/README.md and a figure beside it. Trials are evaluated on the validation split,
because parameters are chosen on it.
"""

import argparse
import copy
import itertools
import re
import sys
from pathlib import Path
from typing import NamedTuple

import report
from ablation_report import draw, markdown, table_2
from experiment import run_trial, trial_spec
from grid import check_failures, finished, gather, run_grid
from mmengine.config import Config, DictAction

from mmasl.cli.cfg_options import apply_cfg_options, check_key
from mmasl.cli.components import type_name, walk
from mmasl.cli.flags import CfgOptions, Parser
from mmasl.cli.run import read_config
from mmasl.errors import UserError, command, positive

# Keys are arguments of the config's loss. Values are those in the text of the paper and their neighbours, because the
# points of its figures are not known. 'weighting' and 'asymmetries' belong to Table 2.
PAPER = {
    'fig5': dict(x='gamma_pos+gamma_neg=0.0,1,2,3,4,6', fixed=dict(clip=0.0)),
    'fig6': dict(x='gamma_pos=0.0,1,2,3,4', lines='gamma_neg=2.0,4', fixed=dict(clip=0.0)),
    'fig7': dict(x='clip=0,0.05,0.1,0.2,0.3,0.4', lines='gamma_pos+gamma_neg=0.0,2,4'),
    'weighting': dict(
        x='alpha=0.5,0.55,0.6,0.65,0.7,0.75,0.8,0.85,0.9,0.95', fixed=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)
    ),
    'table3': dict(
        x='delta_p_target=0,0.1,0.2,0.3',
        fixed=dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_pos=0.0, clip=0.05),
        config={'default_hooks.asymmetry.type': 'mmasl.AsymmetryHook'},  # for --metric mAP gamma_neg
    ),
    'asymmetries': dict(x='gamma_neg=2.0,3,4', lines='clip=0,0.05,0.2', fixed=dict(gamma_pos=0.0)),
}


class Axis(NamedTuple):
    """Keys of the config that get the same value, and these values."""

    keys: tuple[str, ...]
    values: list

    @property
    def label(self) -> str:
        return ' = '.join(key.rsplit('.', 1)[-1] for key in self.keys)


class Ablation(NamedTuple):
    """A parameter along the x axis, optionally another one with a line for each value, and fixed parameters."""

    x: Axis
    lines: Axis | None
    fixed: dict

    def trials(self) -> list[tuple]:
        """Return for each trial its value along x, the value of its line or None, and its overrides of the config."""
        lines = self.lines or Axis((), [None])
        return [
            (x, line, {**self.fixed, **dict.fromkeys(self.x.keys, x), **dict.fromkeys(lines.keys, line)})
            for line, x in itertools.product(lines.values, self.x.values)
        ]


def parse_axis(text: str, flag: str = '--x') -> Axis:
    """Read ``key=1,2`` or ``key+other.key=1,2``.

    Example:
        >>> parse_axis('head.gamma_pos+head.gamma_neg=0,0.5')
        Axis(keys=('head.gamma_pos', 'head.gamma_neg'), values=[0.0, 0.5])
    """
    keys, equals, values = text.partition('=')
    values = DictAction._parse_iterable(f'[{values}]') if values else []
    if not (keys and equals and values) or '' in keys.split('+'):
        raise UserError(f"{flag}: expected key=value,value,... or key+key=value,value,..., got '{text}'")
    if any(isinstance(value, float) for value in values):  # 0 and 0.0 are the same trial
        values = [float(value) if isinstance(value, int) else value for value in values]
    return Axis(tuple(keys.split('+')), values)


def loss_key(cfg: Config) -> str:
    """Return the key of the asymmetric loss in the config."""
    found = {'.'.join(path): type_name(node['type']) for path, node in walk(cfg.model, ('model',)) if 'type' in node}
    ours = [key for key, name in found.items() if name in ('mmasl.AsymmetricLoss', 'mmasl.AdaptiveAsymmetricLoss')]
    if len(ours) != 1:
        losses = ', '.join(f'{key}: {name}' for key, name in found.items() if name.endswith('Loss'))
        raise UserError(
            f'--paper varies the arguments of mmasl.AsymmetricLoss, which is {len(ours)} times in the config '
            f'({losses}); take a config with one, or name the keys with --x'
        )
    return ours[0]


def paper_ablation(name: str, key: str) -> Ablation:
    """Return one of ``PAPER`` for a config whose loss has the key ``key``."""

    def axis(text):
        keys, values = parse_axis(text)
        return Axis(tuple(f'{key}.{k}' for k in keys), values)

    spec = PAPER[name]
    fixed = {f'{key}.{k}': value for k, value in spec.get('fixed', {}).items()} | spec.get('config', {})
    return Ablation(axis(spec['x']), axis(spec['lines']) if 'lines' in spec else None, fixed)


def trial_name(overrides: dict, seed: int) -> str:
    """Return the name of a trial: the last part of each key with its value, and the seed.

    Example:
        >>> trial_name({'model.head.loss.gamma_neg': 4.0, 'train_cfg.max_epochs': 2}, 0)
        'gamma_neg4_max_epochs2_seed0'
    """
    parts = [
        f'{key.rsplit(".", 1)[-1]}{value:g}' if isinstance(value, float) else f'{key.rsplit(".", 1)[-1]}{value}'
        for key, value in sorted(overrides.items())
    ]
    return re.sub(r'[^\w.+-]', '-', '_'.join([*parts, f'seed{seed}']))


def parse_args(argv=None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of the trials')
    parser.add_argument('--paper', nargs='+', choices=PAPER, default=[], help='ablations of the paper')
    parser.add_argument('--x', metavar='KEY=V,V', help='keys that vary along the x axis')
    parser.add_argument('--lines', metavar='KEY=V,V', help='keys with a line for each value')
    parser.add_argument('--name', default='ablation', help='name of the ablation of --x (default: ablation)')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, default={}, help='options of all trials')
    parser.add_argument('--seeds', type=positive, default=1, help='number of seeds (default: 1)')
    parser.add_argument('--seed-keys', nargs='+', default=[], metavar='KEY', help='other keys that get the seed')
    parser.add_argument(
        '--metric',
        nargs='+',
        default=['mAP'],
        help='last part of the name of a metric or of a logged scalar; the first is drawn (default: mAP)',
    )
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='evaluated split (default: val)')
    parser.add_argument('--workers', type=positive, default=2, help='single-thread processes at a time (default: 2)')
    parser.add_argument('--slurm', nargs='+', action=CfgOptions, metavar='KEY=V', help='parameters of submitit')
    parser.add_argument('--out', type=Path, help='folder (default: work_dirs/ablation/<name of the config>)')
    parser.add_argument('--results', type=Path, help='file of the gathered trials (default: trials.jsonl in --out)')
    parser.add_argument('--page', type=Path, help='page with the tables (default: README.md in --out)')
    parser.add_argument('--images', type=Path, help='folder of the figures (default: that of --page)')
    parser.add_argument('--report', action='store_true', help='report the finished trials without training')
    args = parser.parse_args(argv)
    args.out = args.out or Path('work_dirs', 'ablation', Path(args.config).stem)
    args.cells = args.out / 'trials'
    args.results = args.results or args.out / 'trials.jsonl'
    args.page = args.page or args.out / 'README.md'
    args.images = args.images or args.page.parent
    return args


def make_ablations(args: argparse.Namespace) -> dict[str, Ablation]:
    """Return the requested ablations by name. Every key is checked against the config."""
    cfg = read_config(args.config)
    if not args.paper and not args.x:
        raise UserError(f'expected --paper with one of {", ".join(PAPER)}, or --x KEY=VALUE,VALUE,...')
    ablations = {name: paper_ablation(name, loss_key(cfg)) for name in args.paper}
    if args.x:
        lines = parse_axis(args.lines, '--lines') if args.lines else None
        ablations[args.name] = Ablation(parse_axis(args.x), lines, {})
    for ablation in ablations.values():
        own = copy.deepcopy(cfg)
        apply_cfg_options(own, ablation.fixed)  # first, because it may change the loss, which other keys refer to
        apply_cfg_options(own, args.cfg_options)
        for key in [*ablation.x.keys, *(ablation.lines or ablation.x).keys, *args.seed_keys]:
            check_key(own, key)
    return ablations


def make_cells(args: argparse.Namespace, ablations: dict[str, Ablation]) -> dict[str, dict]:
    """Return the trials of all ablations by name, one seed after the other. Ablations may share trials."""
    cells = {}
    for seed, ablation in itertools.product(range(args.seeds), ablations.values()):
        for _, _, changes in ablation.trials():
            overrides = {**args.cfg_options, **changes}
            spec = trial_spec(args.config, overrides, seed, args.split, args.seed_keys)
            name = trial_name(overrides, seed)
            if cells.setdefault(name, spec) != spec:
                raise UserError(
                    f'two different trials are called {name}: run their ablations apart, each with its --out'
                )
    return cells


def measured(ablation: Ablation, args: argparse.Namespace, done: dict[str, dict], metrics: list[str]) -> list[dict]:
    """Return the points with finished trials: ``x``, ``line``, and mean and spread of each metric."""
    points = []
    for x, line, changes in ablation.trials():
        names = [trial_name({**args.cfg_options, **changes}, seed) for seed in range(args.seeds)]
        group = {done[name]['spec']['seed']: done[name] for name in names if name in done}
        for metric in metrics:
            for cell in group.values():
                if metric not in cell['result']:
                    raise UserError(f"--metric: the trials have no '{metric}', but {', '.join(cell['result'])}")
        if group:
            points.append(dict(x=x, line=line, **{metric: report.values(group, metric) for metric in metrics}))
    return points


def write_report(args: argparse.Namespace, ablations: dict[str, Ablation]) -> None:
    """Gather the finished trials, and write a table and a figure for each ablation, and Table 2 if it is complete.

    Raises:
        UserError: If no trial of an ablation is finished, or if the trials do not have one of ``args.metric``.
    """
    gather(args.cells, args.results)
    papers = {name: paper_ablation(name, loss_key(read_config(args.config))) for name in PAPER if args.paper}
    done = finished(make_cells(args, papers | ablations), args.cells, args.results)
    tables = {}
    for name, ablation in ablations.items():
        points = measured(ablation, args, done, args.metric)
        if not points:
            raise UserError(f'{name}: no trial is finished in {args.cells}; run it without --report')
        text = markdown(points, ablation, args.metric)
        print(f'\n{name}\n\n{text}\n', flush=True)
        figure = draw(points, ablation, args.metric[0])
        image = report.write_figure(figure, args.images, f'ablation_{name}', args.page)
        tables[name] = f'{text}\n\n{image}'
    found = {name: measured(ablation, args, done, args.metric[:1]) for name, ablation in papers.items()}
    best = table_2(found, papers, args.metric[0])
    report.write_page(args.page, tables | (dict(table2=best) if best else {}), 'tools/studies/ablation.py')


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    ablations = make_ablations(args)

    def describe(result):
        return ', '.join(f'{metric} {result[metric]:.4g}' for metric in args.metric if metric in result)

    cells, failures = make_cells(args, ablations), 0
    if not args.report:
        failures = run_grid(cells, args, run_trial, describe, args.slurm)
    write_report(args, ablations)
    check_failures(failures, args)


if __name__ == '__main__':
    sys.exit(main())
