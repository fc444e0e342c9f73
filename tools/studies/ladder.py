"""The runner of a ladder: every loss of a folder of configs, several seeds, with and without missing labels.

A study says what is compared (``digit_scenes_ladder.py``, ``digit_scenes_det_ladder.py``); its script has three stages:

    tune     # learning rates and the like, on the validation split
    grid     # all cells, on the test split
    report   # tables, JSON and figure, from the cells that are there

A cell trains one config through MMEngine's runner in one thread and evaluates the last epoch. Each finished cell is
kept as a JSON file: stop whenever you like, the same command goes on with what is left. Losses are compared at
equal seeds.
"""

import argparse
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import ladder_report
from experiment import train_and_test
from grid import run_grid
from mmengine import Config
from mmengine.config import DictAction

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / 'results'
TUNING_SEED = 100  # not one of the grid's


@dataclass(frozen=True)
class Study:
    """What a ladder compares; the dicts are in the order of the tables.

    Args:
        name: The folder of its configs, and of its cells in ``results/``.
        config: Name of the config of a row, with ``{regime}`` and ``{loss}``.
        loss_key: Where in a config the loss is.
        regimes: Title of each regime: what is compared on its own, such as a kind of weights or a detector.
        losses: Label of each loss; a regime has those that it has a config for.
        baselines: For each regime the loss to which the others' differences are taken.
        metrics: For each kept result the metric of the config it comes from, and a factor; first the ``measure`` that
            losses are compared by, such as mAP.
        shown: Those results that the tables have, with their decimals.
        own: Symbols of the losses' own parameters, for the table of trials; ``plain`` losses are shown without.
        plain: Losses whose parameters are no matter of tuning.
        rates: Learning rates that are tried by default.
        item: What is missing, in words.
        missing: Shares of it that the grid tries by default.
    """

    name: str
    config: str
    loss_key: str
    regimes: dict[str, str]
    losses: dict[str, str]
    baselines: dict[str, str]
    metrics: dict[str, tuple[str, float]]
    shown: dict[str, int]
    own: dict[str, str]
    plain: tuple[str, ...] = ()
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    item: str = 'labels'
    missing: tuple[float, ...] = (0.0, 0.2, 0.4)

    @property
    def measure(self) -> str:
        """The result that losses are compared by."""
        return next(iter(self.metrics))

    @property
    def folder(self) -> Path:
        """The folder of the configs and the report."""
        return ROOT / 'configs' / self.name

    @property
    def cells(self) -> Path:
        """The folder of the finished cells."""
        return RESULTS / self.name

    def config_path(self, regime: str, loss: str) -> Path:
        """The config of a row in a regime."""
        return self.folder / self.config.format(regime=regime, loss=loss)

    def rows(self, regime: str, losses=None) -> list[str]:
        """Those of ``losses`` that have a config in this regime."""
        return [loss for loss in losses or self.losses if self.config_path(regime, loss).exists()]


def make_spec(
    study: Study, regime: str, loss: str, seed: int, missing: float = 0.0, split: str = 'test', **changes
) -> dict:
    """All that the result of a cell depends on, as JSON.

    What the config says of the loss, the learning rate and the length is in it, so that a cell whose config was
    changed counts as not finished.

    Args:
        study: What is compared.
        regime: One of its regimes.
        loss: One of its losses.
        seed: Of scenes, order and weights.
        missing: The share of the training labels that is missing.
        split: The split that is evaluated.
        **changes: ``lr``, ``epochs`` and parts of the ``criterion`` instead of the config's.
    """
    config = Config.fromfile(study.config_path(regime, loss))
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
        criterion={**functools.reduce(getattr, study.loss_key.split('.'), config), **changes.get('criterion', {})},
    )


def run_cell(study: Study, spec: dict) -> dict:
    """Train and evaluate one cell."""
    metrics = train_cell(study, spec)
    return {name: round(factor * metrics[metric], 4) for name, (metric, factor) in study.metrics.items()}


def train_cell(study: Study, spec: dict, **overrides) -> dict[str, float]:
    """All metrics of a cell, with what ``overrides`` changes in its config besides."""
    return train_and_test(
        study.config_path(spec['regime'], spec['loss']),
        {
            'param_scheduler.eta_max': spec['lr'],
            'train_cfg.max_epochs': spec['epochs'],
            'train_dataloader.batch_size': spec['batch_size'],
            'train_dataloader.dataset.num_scenes': spec['scenes'],
            'train_dataloader.dataset.seed': spec['seed'],
            'train_dataloader.dataset.missing_rate': spec['missing'],
            **{f'{study.loss_key}.{key}': value for key, value in spec['criterion'].items()},
            **overrides,
        },
        seed=spec['seed'],
        split=spec['split'],
    )


def grid(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """The cells of the table by name: all losses of a seed before the next seed, so that a cut leaves whole seeds."""
    cells = {}
    for regime in args.regime:
        for seed in range(args.seeds):
            for missing in args.missing or study.missing:
                for loss in study.rows(regime, args.losses):
                    name = f'{regime}_{loss}_missing{round(100 * missing):02d}_seed{seed}'
                    cells[name] = make_spec(study, regime, loss, seed, missing)
    return cells


def tuning(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """The trials by name: the same number of learning rates for each loss, evaluated on the validation split."""
    cells = {}
    for regime in args.regime:
        for missing, lr in itertools.product(args.missing or (0.0,), args.rates):
            for loss in study.rows(regime, args.losses):
                changes = dict(lr=lr) if args.epochs is None else dict(lr=lr, epochs=args.epochs)
                spec = make_spec(study, regime, loss, TUNING_SEED, missing, 'val', criterion=args.criterion, **changes)
                name = f'tune_{regime}_{loss}_lr{lr}_ep{spec["epochs"]}'
                name += f'_missing{round(100 * missing):02d}' if missing else ''
                cells[name + ''.join(f'_{key}{value}' for key, value in args.criterion.items())] = spec
    return cells


def run(study: Study, cells: dict[str, dict], folder: Path, workers: int) -> int:
    """Run what is left of ``cells`` with a line for each that ends; return the number of failures."""
    log = ROOT / 'work_dirs' / f'{study.name}_ladder.log'
    print(f'output of the runs: {log}', flush=True)
    function = functools.partial(run_cell, study)

    def describe(result):
        return f'{study.measure} {result[study.measure]:.2f}'

    return run_grid(cells, folder, function, describe, workers=workers, log=log)


def main(study: Study, description: str, argv=None) -> int:
    """The command of a study."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=['tune', 'grid', 'report'])
    parser.add_argument('--regime', nargs='+', choices=study.regimes, default=list(study.regimes))
    parser.add_argument('--losses', nargs='+', choices=study.losses, default=list(study.losses))
    parser.add_argument('--missing', nargs='+', type=float, help=f'shares of missing {study.item}')
    parser.add_argument('--seeds', type=int, default=5, help='number of seeds')
    parser.add_argument('--rates', nargs='+', type=float, default=study.rates, help='learning rates to try')
    parser.add_argument('--epochs', type=int, help="tune: length to try (default: the config's)")
    parser.add_argument('--criterion', nargs='+', action=DictAction, default={}, help='tune: alpha=0.6 or the like')
    parser.add_argument('--workers', type=int, default=2, help='single-thread processes at a time')
    parser.add_argument('--cells', type=Path, default=study.cells, help='folder of the finished cells')
    parser.add_argument('--out', type=Path, default=study.folder, help='report: folder of README.md, JSON and figure')
    args = parser.parse_args(argv)
    if args.stage == 'report':
        ladder_report.write_report(study, args.cells, args.out)
        return 0
    cells = grid(study, args) if args.stage == 'grid' else tuning(study, args)
    return 1 if run(study, cells, args.cells, args.workers) else 0
