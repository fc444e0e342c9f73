"""The effect of a margin above the prior on early training of a small FCOS, for several clip and bias_prob.

    python tools/studies/prior_and_margin.py            # continues where it was stopped
    python tools/studies/prior_and_margin.py --report   # gathers the finished cells, prints the table, draws the figure

Each cell trains with ASL on DigitScenes for three epochs in one thread. For every batch it records the classification
loss, the share of active negatives (p > clip), and the mean p of negatives and positives. Then it evaluates the
validation split.
"""

import argparse
import sys
from functools import partial
from statistics import mean

import report
import torch
from experiment import ROOT, run_trial, trial_spec
from grid import check_failures, finished, gather, run_grid
from torch.nn.modules.module import register_module_forward_hook

from mmasl.analysis.report import plus_minus, pyplot, save_figure, spread, table
from mmasl.errors import UserError, command, positive
from mmasl.models.losses import AsymmetricLoss

CONFIG = ROOT / 'configs/digit_scenes_det/fcos_digitnet_fpn_asl_1xb16_digitscenes-96px.py'
CLIPS, PRIORS = (0.0, 0.005, 0.05), (0.01, 0.1)
SERIES = {
    'loss': 'classification loss',
    'active': 'share of active negatives',
    'negatives': 'mean p of negatives',
    'positives': 'mean p of positives',
}
SHOWN = (1, 20, 50, 100, 280)  # iterations in the table
SMOOTH = 5
SEED_KEYS = ('train_dataloader.dataset.seed',)


def make_cells(epochs: int, scenes: int, seeds: int) -> dict[str, dict]:
    """Return the cells by name. All cells of a seed come before the next seed."""
    return {
        f'clip{clip}_prior{prior}_seed{seed}': trial_spec(
            CONFIG, overrides(clip, prior, epochs, scenes), seed, 'val', SEED_KEYS, clip=clip, bias_prob=prior
        )
        for seed in range(seeds)
        for prior in PRIORS
        for clip in CLIPS
    }


def overrides(clip: float, prior: float, epochs: int, scenes: int) -> dict:
    """Return the changes of a cell in the config."""
    override = dict(type='Normal', name='conv_cls', std=0.01, bias_prob=prior)
    return {
        'model.bbox_head.loss_cls.gamma_pos': 1.0,
        'model.bbox_head.loss_cls.gamma_neg': 2.0,
        'model.bbox_head.loss_cls.clip': clip,
        'model.bbox_head.init_cfg': dict(type='Normal', layer='Conv2d', std=0.01, override=override),
        'train_cfg.max_epochs': epochs,
        'train_dataloader.dataset.num_scenes': scenes,
    }


def run_cell(spec: dict) -> dict:
    """Train one cell, and return its series with one number per iteration, and the mAP in percent."""
    series = {name: [] for name in SERIES}
    handle = register_module_forward_hook(partial(record, series))
    try:
        metrics = run_trial(spec)
    finally:
        handle.remove()
    return dict(mAP=round(100 * metrics['bbox_mAP'], 2), **series)


def record(series: dict[str, list[float]], module: torch.nn.Module, args: tuple, loss: torch.Tensor) -> None:
    """Record what goes through the asymmetric loss. This is a forward hook of every module."""
    if not isinstance(module, AsymmetricLoss):
        return
    p, positive = args[0].detach().sigmoid(), torch.nn.functional.one_hot(args[1], args[0].shape[1] + 1)[:, :-1] == 1
    numbers = dict(
        loss=loss,
        active=(p[~positive] > module.clip).float().mean(),
        negatives=p[~positive].mean(),
        positives=p[positive].mean(),
    )
    for name, value in numbers.items():
        series[name].append(float(f'{value.item():.4g}'))


def write_report(cells: dict[str, dict], args: argparse.Namespace) -> None:
    """Gather the cells, print the table, and draw the figure."""
    gather(args.cells, args.results)
    found = {}
    for cell in finished(cells, args.cells, args.results).values():
        found.setdefault((cell['spec']['bias_prob'], cell['spec']['clip']), []).append(cell['result'])
    if not found:
        raise UserError(f'no cell with these arguments is finished in {args.cells}: run it without --report')
    at = [number for number in SHOWN if all(len(cell['loss']) >= number for group in found.values() for cell in group)]
    head = ['bias_prob', 'clip', *(f'loss at {n}' for n in at), *(f'active at {n}' for n in at), 'background p', 'mAP']
    rows, curves = [], {}
    for (prior, clip), group in found.items():
        series = curves[prior, clip] = {name: smooth([cell[name] for cell in group]) for name in SERIES}
        rows.append(
            [
                *(f'{value:g}' for value in (prior, clip)),
                *(f'{series["loss"][n - 1]:.2f}' for n in at),
                *(f'{100 * series["active"][n - 1]:.1f} %' for n in at),
                f'{series["negatives"][-1]:.3f}',
                plus_minus(spread([cell['mAP'] for cell in group])),
            ]
        )
    print(table(head, rows))
    save_figure(draw(curves), args.images / 'prior_and_margin', kinds=['png'])


def smooth(curves: list[list[float]]) -> list[float]:
    """Return the mean over seeds and over the last :data:`SMOOTH` iterations."""
    curve = [mean(values) for values in zip(*curves, strict=True)]
    return [float(f'{mean(curve[max(0, i + 1 - SMOOTH) : i + 1]):.4g}') for i in range(len(curve))]


def draw(curves: dict[tuple, dict]):
    """Draw one column for each prior, one row for each series and one line for each margin."""
    shape = len(SERIES), len(PRIORS)
    figure, axes = pyplot().subplots(*shape, figsize=(9, 10), sharex=True, sharey='row', squeeze=False)
    for (prior, clip), series in curves.items():
        for axis, (name, curve) in zip(axes[:, PRIORS.index(prior)], series.items(), strict=True):
            axis.plot(range(1, len(curve) + 1), curve, label=f'clip={clip:g}', lw=1.2)
            axis.set_yscale('linear' if name == 'active' else 'log')
            axis.grid(alpha=0.3)
    for column, prior in enumerate(PRIORS):
        axes[0, column].set_title(f'bias_prob={prior:g}')
        axes[-1, column].set_xlabel('iteration')
    for axis, title in zip(axes[:, 0], SERIES.values(), strict=True):
        axis.set_ylabel(title)
    axes[0, 0].legend()
    figure.tight_layout()
    return figure


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--scenes', type=int, default=1500, help='training scenes')
    parser.add_argument('--seeds', type=positive, default=1)
    report.add_paths(parser, 'prior_and_margin')
    args = parser.parse_args(argv)
    cells, failures = make_cells(args.epochs, args.scenes, args.seeds), 0
    if not args.report:
        failures = run_grid(cells, args, run_cell, lambda result: f'mAP {result["mAP"]:.1f}')
    write_report(cells, args)
    check_failures(failures, args)


if __name__ == '__main__':
    sys.exit(main())
