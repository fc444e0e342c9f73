"""The evidence: every loss of the ladder on DigitScenes, several seeds, with and without missing labels.

    python tools/benchmarks/digit_scenes_ladder.py tune     # learning rates, on the validation split
    python tools/benchmarks/digit_scenes_ladder.py grid     # all cells, on the test split
    python tools/benchmarks/digit_scenes_ladder.py report   # tables, JSON and figure, from the cells that are there

A cell trains one config of ``configs/digit_scenes/`` through MMEngine's runner in one thread, two cells at a time, and
evaluates the last epoch. Each finished cell is kept as a JSON file: stop whenever you like, the same command goes on
with the cells that are left. A seed changes the training scenes, the order of the data and the weights that are not
loaded; the single-digit weights and the evaluated scenes are the same for all. Losses are compared at equal seeds.
"""

import argparse
import itertools
import sys
from pathlib import Path

import ladder_report
from mmengine import Config
from mmengine.config import DictAction

from mmasl.utils.experiment import train_and_test
from mmasl.utils.grid import run_grid

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'digit_scenes'
CELLS = Path(__file__).resolve().parent / 'results' / 'digit_scenes'
LOG = ROOT / 'work_dirs' / 'digit_scenes_ladder.log'
LOSSES = ladder_report.LOSSES
REGIMES = ('ft', 'scratch')
TUNING_SEED = 100  # not one of the grid's
TUNING_RATES = (3e-3, 1e-2, 3e-2)
KEPT = ('mAP', 'CP', 'CR', 'CF1', 'OP', 'OR', 'OF1', 'pt_pos', 'pt_neg', 'delta_p')


def config_path(regime: str, loss: str) -> Path:
    """The config of a row in a regime."""
    return CONFIGS / f'digitnet-{loss}_{regime}-1xb16_digitscenes-48px.py'


def rows(regime: str, losses) -> list[str]:
    """Those of ``losses`` that have a config in this regime."""
    return [loss for loss in losses if config_path(regime, loss).exists()]


def make_spec(regime: str, loss: str, seed: int, missing: float = 0.0, split: str = 'test', **changes) -> dict:
    """All that the result of a cell depends on, as JSON.

    What the config says of the loss, the learning rate and the length is in it, so that a cell whose config was
    changed counts as not finished.

    Args:
        regime: 'ft' or 'scratch'.
        loss: A row of the ladder.
        seed: Of scenes, order and weights.
        missing: The share of the training labels that is missing.
        split: The split that is evaluated.
        **changes: ``lr``, ``epochs`` and parts of the ``criterion`` instead of the config's.
    """
    config = Config.fromfile(config_path(regime, loss))
    epochs = changes.get('epochs', config.train_cfg.max_epochs)
    return dict(
        regime=regime,
        loss=loss,
        seed=seed,
        missing=missing,
        split=split,
        lr=changes.get('lr', config.param_scheduler.eta_max),
        epochs=epochs,
        scenes=config.train_dataloader.dataset.num_scenes,
        batch_size=config.train_dataloader.batch_size,
        criterion={**config.model.head.loss, **changes.get('criterion', {})},
    )


def run_cell(spec: dict) -> dict:
    """Train and evaluate one cell."""
    metrics = train_and_test(
        config_path(spec['regime'], spec['loss']),
        {
            'param_scheduler.eta_max': spec['lr'],
            'train_cfg.max_epochs': spec['epochs'],
            'train_dataloader.batch_size': spec['batch_size'],
            'train_dataloader.dataset.num_scenes': spec['scenes'],
            'train_dataloader.dataset.seed': spec['seed'],
            'train_dataloader.dataset.missing_rate': spec['missing'],
            **{f'model.head.loss.{key}': value for key, value in spec['criterion'].items()},
        },
        seed=spec['seed'],
        split=spec['split'],
    )
    return {name: round(metrics[name], 4) for name in KEPT}


def grid(args: argparse.Namespace) -> dict[str, dict]:
    """The cells of the table by name: all losses of a seed before the next seed, so that a cut leaves whole seeds."""
    cells = {}
    for regime in args.regime:
        for seed in range(args.seeds):
            for missing in args.missing or (0.0, 0.2, 0.4):
                for loss in rows(regime, args.losses):
                    name = f'{regime}_{loss}_missing{round(100 * missing):02d}_seed{seed}'
                    cells[name] = make_spec(regime, loss, seed, missing)
    return cells


def tuning(args: argparse.Namespace) -> dict[str, dict]:
    """The trials by name: the same number of learning rates for each loss, evaluated on the validation split."""
    cells = {}
    for regime in args.regime:
        for missing, lr in itertools.product(args.missing or (0.0,), args.rates):
            for loss in rows(regime, args.losses):
                changes = dict(lr=lr) if args.epochs is None else dict(lr=lr, epochs=args.epochs)
                spec = make_spec(regime, loss, TUNING_SEED, missing, 'val', criterion=args.criterion, **changes)
                name = f'tune_{regime}_{loss}_lr{lr}_ep{spec["epochs"]}'
                name += f'_missing{round(100 * missing):02d}' if missing else ''
                cells[name + ''.join(f'_{key}{value}' for key, value in args.criterion.items())] = spec
    return cells


def run(cells: dict[str, dict], folder: Path, workers: int) -> int:
    """Run what is left of ``cells`` with a line for each that ends; return the number of failures."""
    print(f'output of the runs: {LOG}', flush=True)
    return run_grid(cells, folder, run_cell, lambda result: f'mAP {result["mAP"]:.2f}', workers=workers, log=LOG)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=['tune', 'grid', 'report'])
    parser.add_argument('--regime', nargs='+', choices=REGIMES, default=list(REGIMES))
    parser.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES))
    parser.add_argument('--missing', nargs='+', type=float, help='shares of missing labels')
    parser.add_argument('--seeds', type=int, default=5, help='number of seeds')
    parser.add_argument('--rates', nargs='+', type=float, default=TUNING_RATES, help='learning rates to try')
    parser.add_argument('--epochs', type=int, help="tune: length to try (default: the config's)")
    parser.add_argument('--criterion', nargs='+', action=DictAction, default={}, help='tune: alpha=0.6 or the like')
    parser.add_argument('--workers', type=int, default=2, help='single-thread processes at a time')
    parser.add_argument('--cells', type=Path, default=CELLS, help='folder of the finished cells')
    parser.add_argument('--out', type=Path, default=CONFIGS, help='report: folder of README.md, JSON and figure')
    args = parser.parse_args(argv)
    if args.stage == 'report':
        ladder_report.write_report(args.cells, args.out)
        return 0
    cells = grid(args) if args.stage == 'grid' else tuning(args)
    return 1 if run(cells, args.cells, args.workers) else 0


if __name__ == '__main__':
    sys.exit(main())
