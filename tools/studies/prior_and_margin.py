"""What a margin above the prior does to early training: a small FCOS on DigitScenes, for each clip and bias_prob.

    python tools/studies/prior_and_margin.py            # goes on where it was stopped
    python tools/studies/prior_and_margin.py --report   # table and figure, from the cells that are there

Each cell trains with ASL over three epochs in one thread and notes for every batch the classification loss, the share
of active negatives (p > clip), and the mean p of negatives and positives; then it evaluates the validation split.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from experiment import train_and_test
from grid import read_cell, run_grid
from mmengine.config import Config
from torch.nn.modules.module import register_module_forward_hook

from mmasl.analysis.report import plus_minus, pyplot, save_figure, spread, table
from mmasl.files import write_json
from mmasl.models.losses import AsymmetricLoss

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/digit_scenes_det/fcos_digitnet_fpn_asl_1xb16_digitscenes-96px.py'
OUT = Path(__file__).resolve().parent / 'results' / 'prior_and_margin'
CLIPS, PRIORS = (0.0, 0.005, 0.05), (0.01, 0.1)
SERIES = {
    'loss': 'classification loss',
    'active': 'share of active negatives',
    'negatives': 'mean p of negatives',
    'positives': 'mean p of positives',
}
SHOWN = (1, 20, 50, 100, 280)  # iterations in the table
SMOOTH = 5


def make_cells(config: str, epochs: int, scenes: int, seeds: int) -> dict[str, dict]:
    """The cells by name, all of a seed before the next."""
    common = dict(config=config, epochs=epochs, scenes=scenes)
    common['criterion'] = dict(Config.fromfile(ROOT / config).model.bbox_head.loss_cls)
    return {
        f'clip{clip}_prior{prior}_seed{seed}': dict(common, clip=clip, bias_prob=prior, seed=seed)
        for seed in range(seeds)
        for prior in PRIORS
        for clip in CLIPS
    }


def run_cell(spec: dict) -> dict:
    """Train one cell: its series, one number for each iteration, and the mAP in percent."""
    series = {name: [] for name in SERIES}
    weights = dict(type='Normal', layer='Conv2d', std=0.01)
    override = dict(type='Normal', name='conv_cls', std=0.01, bias_prob=spec['bias_prob'])
    handle = register_module_forward_hook(partial(record, series))
    try:
        metrics = train_and_test(
            ROOT / spec['config'],
            {
                'model.bbox_head.loss_cls.clip': spec['clip'],
                'model.bbox_head.init_cfg': dict(**weights, override=override),
                'train_cfg.max_epochs': spec['epochs'],
                'train_dataloader.dataset.num_scenes': spec['scenes'],
                'train_dataloader.dataset.seed': spec['seed'],
            },
            seed=spec['seed'],
            split='val',
        )
    finally:
        handle.remove()
    return dict(mAP=round(100 * metrics['bbox_mAP'], 2), **series)


def record(series: dict[str, list[float]], module: torch.nn.Module, args: tuple, loss: torch.Tensor) -> None:
    """A forward hook of every module: notes what goes through the asymmetric loss."""
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


def report(cells: dict[str, dict], folder: Path) -> None:
    """Print the table and draw the figure of the cells that are there."""
    found = {}
    for name, spec in cells.items():
        cell = read_cell(folder / 'cells', name, spec)
        if cell is not None:
            found.setdefault((spec['bias_prob'], spec['clip']), []).append(cell['result'])
    at = [number for number in SHOWN if all(len(cell['loss']) >= number for group in found.values() for cell in group)]
    head = ['bias_prob', 'clip', *(f'loss at {n}' for n in at), *(f'active at {n}' for n in at), 'background p', 'mAP']
    rows, means = [], []
    for (prior, clip), group in found.items():
        series = {name: smooth([cell[name] for cell in group]) for name in SERIES}
        score = spread([cell['mAP'] for cell in group])
        means.append(dict(bias_prob=prior, clip=clip, mAP=score, **series))
        rows.append(
            [
                *(f'{value:g}' for value in (prior, clip)),
                *(f'{series["loss"][n - 1]:.2f}' for n in at),
                *(f'{100 * series["active"][n - 1]:.1f} %' for n in at),
                f'{series["negatives"][-1]:.3f}',
                plus_minus(score),
            ]
        )
    print(table(head, rows))
    write_json(folder / 'prior_and_margin.json', means)
    draw(means, folder / 'prior_and_margin')


def smooth(curves: list[list[float]]) -> list[float]:
    """The mean over seeds and over :data:`SMOOTH` iterations back, the first as it is."""
    curve = [mean(values) for values in zip(*curves, strict=True)]
    return [float(f'{mean(curve[max(0, i + 1 - SMOOTH) : i + 1]):.4g}') for i in range(len(curve))]


def draw(means: list[dict], path: Path) -> None:
    """One column a prior, one row a series, one line a margin."""
    plt = pyplot()
    figure, axes = plt.subplots(len(SERIES), len(PRIORS), figsize=(9, 10), sharex=True, sharey='row', squeeze=False)
    for cell in means:
        column = PRIORS.index(cell['bias_prob'])
        for axis, name in zip(axes[:, column], SERIES, strict=True):
            axis.plot(range(1, len(cell[name]) + 1), cell[name], label=f'clip={cell["clip"]:g}', lw=1.2)
            axis.set_yscale('linear' if name == 'active' else 'log')
            axis.grid(alpha=0.3)
    for column, prior in enumerate(PRIORS):
        axes[0, column].set_title(f'bias_prob={prior:g}')
        axes[-1, column].set_xlabel('iteration')
    for axis, title in zip(axes[:, 0], SERIES.values(), strict=True):
        axis.set_ylabel(title)
    axes[0, 0].legend()
    figure.tight_layout()
    save_figure(figure, path)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--report', action='store_true', help='run nothing')
    parser.add_argument(
        '--config', default=CONFIG, help='an FCOS with mmasl.AsymmetricLoss, from the root of the repository'
    )
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--scenes', type=int, default=1500, help='training scenes')
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--workers', type=int, default=1, help='single-thread processes at a time')
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args(argv)
    cells = make_cells(args.config, args.epochs, args.scenes, args.seeds)
    failures = 0
    if not args.report:
        log = ROOT / 'work_dirs' / 'prior_and_margin.log'
        print(f'output of the runs: {log}', flush=True)
        options = dict(workers=args.workers, log=log)
        failures = run_grid(cells, args.out / 'cells', run_cell, lambda result: f'mAP {result["mAP"]:.1f}', **options)
    report(cells, args.out)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
