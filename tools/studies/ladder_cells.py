"""The cells of a ladder: what a study compares, the specification of each training, and which trainings there are."""

import argparse
import math
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from experiment import ROOT, run_trial, trial_spec
from grid import finished

TUNING_SEED = 100  # the grid has other seeds


@dataclass(frozen=True)
class Study:
    """What a ladder compares. The dicts are in the order of the tables.

    Args:
        name: The name of the folder of its configs and of the folder of its cells.
        title: What it compares, for the help text.
        config: The name of the config of a row, with ``{regime}`` and ``{loss}``.
        loss_key: The key of the loss in a config.
        regimes: The title of each regime. Losses are compared within a regime, such as a kind of weights or a detector.
        losses: The label of each loss. A regime has the losses for which it has a config.
        baselines: For each regime, the loss with which the others are compared.
        metrics: For each kept result, the metric of the config and a factor. The first result, such as mAP, is the
            ``measure`` by which losses are compared.
        shown: The results in the tables, with their decimals.
        plain: The losses whose parameters the table of trials does not show, because they are not tuned.
        rates: The learning rates that are tried by default.
        item: What is missing, in words.
        missing: The shares of missing items that the grid tries by default.
        lr_key: The key of the tuned learning rate in a config.
        missing_key: The key of the share that is missing in the training data.
        seed_keys: Keys of a config that get the seed of a cell too.
        val_missing_key: The key of the share that is missing in the validation data. '' keeps these data complete.
        val_overrides: For each regime, further changes of the config for trials on the validation split.
        data_roots: The keys of a config that ``--data-root`` sets to the folder of the data on this machine.
        refined: For each loss, the changes that ``refine`` tries at its best learning rate: ``lr`` or parameters of the
            loss, the same number for each loss of a regime. The grid takes the best settings for each share of missing
            items.
        evaluate_training: Evaluate the training data too.
    """

    name: str
    title: str
    config: str
    loss_key: str
    regimes: dict[str, str]
    losses: dict[str, str]
    baselines: dict[str, str]
    metrics: dict[str, tuple[str, float]]
    shown: dict[str, int]
    plain: tuple[str, ...] = ()
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    item: str = 'labels'
    missing: tuple[float, ...] = (0.0, 0.2, 0.4)
    lr_key: str = 'param_scheduler.eta_max'
    missing_key: str = 'train_dataloader.dataset.missing_rate'
    seed_keys: tuple[str, ...] = ('train_dataloader.dataset.seed',)
    val_missing_key: str = ''
    val_overrides: dict[str, dict] = field(default_factory=dict)
    data_roots: tuple[str, ...] = ()
    refined: dict[str, list[dict]] = field(default_factory=dict)
    evaluate_training: bool = False

    @property
    def measure(self) -> str:
        """The name of the result by which losses are compared."""
        return next(iter(self.metrics))

    @property
    def folder(self) -> Path:
        """The folder of the configs and of the page."""
        return ROOT / 'configs' / self.name

    def config_path(self, regime: str, loss: str) -> Path:
        """Return the config of a row in a regime."""
        return self.folder / self.config.format(regime=regime, loss=loss)

    def rows(self, regime: str, losses=None) -> list[str]:
        """Return the losses among ``losses`` that have a config in this regime."""
        return [loss for loss in losses or self.losses if self.config_path(regime, loss).exists()]


def make_spec(
    study: Study, regime: str, loss: str, seed: int, missing: float = 0.0, split: str = 'test', **changes
) -> dict:
    """Return the specification of a cell; see :func:`experiment.trial_spec`.

    Args:
        study: What is compared.
        regime: One of its regimes.
        loss: One of its losses.
        seed: The seed of the scenes, of their order and of the weights.
        missing: The share of the training labels that is missing.
        split: The split that is evaluated.
        **changes: ``lr``, ``epochs``, parameters of the loss (``criterion``) and other ``overrides`` of the config.
            Anything else is a label of the cell.
    """
    overrides = dict(changes.pop('overrides', {}))
    if split == 'val':
        overrides = {**study.val_overrides.get(regime, {}), **overrides}
    for name, key in dict(lr=study.lr_key, epochs='train_cfg.max_epochs').items():
        if name in changes:
            overrides[key] = changes.pop(name)
    overrides.update({f'{study.loss_key}.{key}': value for key, value in changes.pop('criterion', {}).items()})
    if missing:
        overrides[study.missing_key] = missing
        if split == 'val' and study.val_missing_key:
            overrides[study.val_missing_key] = missing
    shown = dict(
        lr=study.lr_key,
        epochs='train_cfg.max_epochs',
        batch_size='train_dataloader.batch_size',
        criterion=study.loss_key,
    )
    labels = dict(regime=regime, loss=loss, missing=missing, **changes)
    config = study.config_path(regime, loss)
    return trial_spec(config, overrides, seed, split, study.seed_keys, shown, **labels)


def run_cell(study: Study, roots: dict[str, str], spec: dict) -> dict:
    """Train and evaluate one cell. ``roots`` has the folders of the data of some regimes."""
    where = dict.fromkeys(study.data_roots, roots[spec['regime']]) if spec['regime'] in roots else {}
    metrics = run_trial(spec, evaluate_training=study.evaluate_training and spec['split'] == 'test', **where)
    result = {
        name: round(factor * metrics[metric], 4)
        for name, (metric, factor) in study.metrics.items()
        if metric in metrics
    }
    if math.isnan(result[study.measure]):
        raise ValueError(f'the run has no {study.measure}: NaN')
    return result


def tuning(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """Return the trials of the learning rate by name, as many for each loss. They use the validation split."""
    cells = {}
    shares = args.missing or (study.missing if study.refined else (0.0,))
    for regime, missing, lr in product(args.regime, shares, args.rates):
        for loss in study.rows(regime, args.losses):
            cells.update(trial(study, args, regime, loss, missing, lr, args.criterion))
    return cells


def trial(study: Study, args: argparse.Namespace, regime: str, loss: str, missing: float, lr: float, criterion: dict):
    """Return a dict with the name and the specification of a trial on the validation split."""
    changes = dict(lr=lr) if args.epochs is None else dict(lr=lr, epochs=args.epochs)
    spec = make_spec(study, regime, loss, TUNING_SEED, missing, 'val', criterion=criterion, **changes)
    name = f'tune_{regime}_{loss}_lr{lr}_ep{spec["epochs"]}'
    name += f'_missing{percent(missing)}' if missing else ''
    return {name + ''.join(f'_{key}{value}' for key, value in criterion.items()): spec}


def refining(study: Study, args: argparse.Namespace, tuned: dict[str, dict] | None = None) -> dict[str, dict]:
    """Return the trials of the ``refined`` settings by name, each at the rate that was best among those of ``tuned``.

    ``tuned`` has the trials of :func:`tuning`, which are made if they are not given.
    """
    cells, best = {}, best_settings(study, args, tuning(study, args) if tuned is None else tuned)
    for regime, missing in product(args.regime, args.missing or study.missing):
        for loss in study.rows(regime, args.losses):
            rate = best.get((regime, loss, missing), {}).get('lr')
            for change in study.refined.get(loss, []) if rate is not None else []:
                own = {key: value for key, value in change.items() if key != 'lr'}
                cells.update(trial(study, args, regime, loss, missing, change.get('lr', rate), own))
    return cells


def grid(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """Return the cells of the tables by name. All losses of a seed come before the next seed.

    A share of missing labels without trials of its own has the settings of complete data, whether that is asked for or
    not.
    """
    shares = args.missing or study.missing
    args = argparse.Namespace(**{**vars(args), 'missing': sorted({0.0, *shares})})
    cells, trials = {}, tuning(study, args) if study.refined else {}
    best = best_settings(study, args, trials | refining(study, args, trials))
    for regime, seed, missing in product(args.regime, range(args.seeds), shares):
        for loss in study.rows(regime, args.losses):
            if study.refined and seed == 0 and (regime, loss, missing) not in best:
                print(
                    f'{regime} {loss}, {missing:g} missing: no trial has these --rates and --epochs; the config decides'
                )
            name = f'{regime}_{loss}_missing{percent(missing)}_seed{seed}'
            settings = best.get((regime, loss, missing), {})
            cells[name] = make_spec(study, regime, loss, seed, missing, **settings)
    return cells


def percent(share: float) -> str:
    """Return a share as it is in the names of cells.

    Example:
        >>> [percent(share) for share in (0.0, 0.05, 0.4, 0.125)]
        ['00', '05', '40', '12.5']
    """
    return f'{100 * share:g}'.zfill(2)


def best_settings(study: Study, args: argparse.Namespace, trials: dict[str, dict]) -> dict[tuple, dict]:
    """Return ``lr``, ``epochs`` and ``criterion`` of the best finished trials.

    Args:
        study: What is compared.
        args: ``cells`` and ``results`` say where the finished cells are.
        trials: The specifications of the trials to choose from.

    Returns:
        The settings by regime, loss and share of missing labels. A share without finished trials has the settings that
        were chosen with complete data.
    """
    best = {}
    done = finished(trials, args.cells, args.results).values()
    for cell in sorted(done, key=lambda cell: cell['cell']):  # of equally good trials, the first by name
        key = tuple(cell['spec'][name] for name in ('regime', 'loss', 'missing'))
        if key not in best or cell['result'][study.measure] > best[key]['result'][study.measure]:
            best[key] = cell
    for regime, loss, missing in list(best):
        for share in (args.missing or study.missing) if missing == 0 else ():
            best.setdefault((regime, loss, share), best[regime, loss, missing])
    return {key: _settings(cell['spec']) for key, cell in best.items()}


def _settings(spec: dict) -> dict:
    criterion = {key: value for key, value in spec['criterion'].items() if key != 'type'}
    return dict(lr=spec['lr'], epochs=spec['epochs'], criterion=criterion)
