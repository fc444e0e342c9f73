"""The runner of a ladder: every loss of a folder of configs, several seeds, with and without missing labels.

A study says what is compared (``digit_scenes_ladder.py``, ``photos_ladder.py``, ...); its script has these stages:

    tune     # learning rates and the like, on the validation split
    refine   # where the study has them: the losses' own parameters at the best learning rate
    grid     # all cells, on the test split
    report   # gathers the finished cells in the study's file of results, and writes the tables and the figure

A cell trains one config through MMEngine's runner in one thread and evaluates the last epoch. Each finished cell is
kept as a JSON file: stop whenever you like, the same command goes on with what is left, on another machine from the
gathered results. Losses are compared at equal seeds.
"""

import argparse
import functools
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import report
from experiment import ROOT, run_trial, trial_spec
from grid import gather, read_cells, run_grid

from mmasl.analysis.report import plus_minus, pyplot, table
from mmasl.cli.flags import CfgOptions

TUNING_SEED = 100  # not one of the grid's
SYMBOLS = {'pt_pos': 'p_t⁺', 'pt_neg': 'p_t⁻', 'delta_p': 'Δp'}


@dataclass(frozen=True)
class Study:
    """What a ladder compares; the dicts are in the order of the tables.

    Args:
        name: The folder of its configs, and of its cells.
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
        lr_key: Where in a config the learning rate is that is tuned.
        missing_key: Where in a config the share is of what is missing in the training data.
        seed_keys: Keys of a config that get a cell's seed too.
        val_missing_key: Where the share is of what is missing in the validation data; '' leaves them complete.
        val_overrides: For each regime further changes of a config with which settings are chosen.
        data_roots: Keys of a config that ``--data-root`` sets, which says where the data are on this machine.
        refined: For each loss the changes that ``refine`` tries at its best learning rate: ``lr`` or parameters of its
            own, the same number for each. The grid takes the best settings for each share of what is missing.
        evaluate_training: Evaluate the training data too.
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
        """The result that losses are compared by."""
        return next(iter(self.metrics))

    @property
    def folder(self) -> Path:
        """The folder of the configs and of the page."""
        return ROOT / 'configs' / self.name

    def config_path(self, regime: str, loss: str) -> Path:
        """The config of a row in a regime."""
        return self.folder / self.config.format(regime=regime, loss=loss)

    def rows(self, regime: str, losses=None) -> list[str]:
        """Those of ``losses`` that have a config in this regime."""
        return [loss for loss in losses or self.losses if self.config_path(regime, loss).exists()]


def make_spec(
    study: Study, regime: str, loss: str, seed: int, missing: float = 0.0, split: str = 'test', **changes
) -> dict:
    """The specification of a cell; see :func:`experiment.trial_spec`.

    Args:
        study: What is compared.
        regime: One of its regimes.
        loss: One of its losses.
        seed: Of scenes, order and weights.
        missing: The share of the training labels that is missing.
        split: The split that is evaluated.
        **changes: ``lr``, ``epochs``, parts of the ``criterion`` and other ``overrides`` instead of the config's;
            anything else is a label of the cell.
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
    """Train and evaluate one cell, with the data of its regime in ``roots`` where it has an entry there."""
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


def grid(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """The cells of the table by name: all losses of a seed before the next seed, so that a cut leaves whole seeds."""
    cells = {}
    trials = [*tuning(study, args).values(), *refining(study, args).values()] if study.refined else []
    for regime in args.regime:
        for seed in range(args.seeds):
            for missing in args.missing or study.missing:
                for loss in study.rows(regime, args.losses):
                    name = f'{regime}_{loss}_missing{round(100 * missing):02d}_seed{seed}'
                    settings = best_trial(study, args, regime, loss, missing, trials)
                    cells[name] = make_spec(study, regime, loss, seed, missing, **settings)
    return cells


def tuning(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """The trials by name: the same number of learning rates for each loss, evaluated on the validation split."""
    cells = {}
    for regime in args.regime:
        for missing, lr in itertools.product(args.missing or (study.missing if study.refined else (0.0,)), args.rates):
            for loss in study.rows(regime, args.losses):
                cells.update(trial(study, args, regime, loss, missing, lr, args.criterion))
    return cells


def trial(study: Study, args: argparse.Namespace, regime: str, loss: str, missing: float, lr: float, criterion: dict):
    """The name and the specification of a trial on the validation split, as a dict."""
    changes = dict(lr=lr) if args.epochs is None else dict(lr=lr, epochs=args.epochs)
    spec = make_spec(study, regime, loss, TUNING_SEED, missing, 'val', criterion=criterion, **changes)
    name = f'tune_{regime}_{loss}_lr{lr}_ep{spec["epochs"]}'
    name += f'_missing{round(100 * missing):02d}' if missing else ''
    return {name + ''.join(f'_{key}{value}' for key, value in criterion.items()): spec}


def refining(study: Study, args: argparse.Namespace) -> dict[str, dict]:
    """The trials of the ``refined`` settings by name, each at the rate that was best in the tuning stage."""
    cells, tuned = {}, list(tuning(study, args).values())
    for regime in args.regime:
        for missing in args.missing or study.missing:
            for loss in study.rows(regime, args.losses):
                rate = best_trial(study, args, regime, loss, missing, tuned).get('lr')
                for change in study.refined.get(loss, []) if rate is not None else []:
                    own = {key: value for key, value in change.items() if key != 'lr'}
                    cells.update(trial(study, args, regime, loss, missing, change.get('lr', rate), own))
    return cells


def best_trial(study: Study, args, regime: str, loss: str, missing: float, among: list[dict]) -> dict:
    """The settings of the finished trial with the best measure: ``lr``, ``epochs``, ``criterion``; {} without any.

    Without a trial for this share of what is missing, settings that were chosen with complete data serve.

    Args:
        study, regime, loss, missing: What the trial is of.
        args: Says where the finished cells are.
        among: The specifications of the trials to choose from.
    """
    if not among:  # most studies choose none, and need not read their cells for it
        return {}
    trials = [
        cell
        for cell in read_cells(args.cells, args.results)
        if (cell['spec']['regime'], cell['spec']['loss'], cell['spec']['missing']) == (regime, loss, missing)
        and cell['spec'] in among
    ]
    if not trials:
        return best_trial(study, args, regime, loss, 0.0, among) if missing else {}
    spec = max(trials, key=lambda cell: cell['result'][study.measure])['spec']
    criterion = {key: value for key, value in spec['criterion'].items() if key != 'type'}
    return dict(lr=spec['lr'], epochs=spec['epochs'], criterion=criterion)


def run(study: Study, cells: dict[str, dict], args: argparse.Namespace) -> int:
    """Run what is left of ``cells`` with a line for each that ends; return the number of failures."""
    log = ROOT / 'work_dirs' / f'{study.name}_ladder.log'
    print(f'output of the runs: {log}', flush=True)
    function = functools.partial(run_cell, study, args.data_root)

    def describe(result):
        return f'{study.measure} {result[study.measure]:.2f}'

    return run_grid(cells, args.cells, function, describe, workers=args.workers, log=log, file=args.results)


def by_row(study: Study, cells: list[dict]) -> dict[tuple, dict[int, dict]]:
    """Cells of the grid by regime, share of what is missing and loss, in the order of the tables, then by seed."""
    groups = report.by_seed(cells, lambda spec: (spec['regime'], spec['missing'], spec['loss']))
    order = {name: number for names in (study.regimes, study.losses) for number, name in enumerate(names)}
    return dict(sorted(groups.items(), key=lambda item: (order[item[0][0]], item[0][1], order[item[0][2]])))


def markdown(study: Study, rows: dict[tuple, dict[int, dict]], trials: list[dict]) -> str:
    """The tables of the page.

    Args:
        study: What is compared.
        rows: What :func:`by_row` returns.
        trials: Cells of the tuning stage.
    """
    parts = []
    for regime, title in study.regimes.items():
        mine = {key[1:]: group for key, group in rows.items() if key[0] == regime}
        if not mine:
            continue
        parts.append(f'### {title}')
        rates = sorted({missing for missing, _ in mine})
        losses = [loss for loss in study.losses if any(loss == other for _, other in mine)]
        head, body = [f'{study.measure}, %'], [[study.losses[loss]] for loss in losses]
        for rate in rates:
            head += [f'{100 * rate:.0f} % missing', f'− {study.baselines[regime].upper()} (better in)']
            baseline = mine.get((rate, study.baselines[regime]), {})
            for line, loss in zip(body, losses, strict=True):
                group = mine.get((rate, loss))
                line.append(group and f'{plus_minus(report.values(group, study.measure))} ({len(group)})' or '')
                line.append(group and report.difference_text(group, baseline, study.measure) or '')
        parts.append(table(head, body))
        shown = [SYMBOLS.get(key, key) for key in study.shown]
        for rate in rates:
            body = [
                [study.losses[loss], *details(study, group)] for loss in losses if (group := mine.get((rate, loss)))
            ]
            parts.append(table([f'{100 * rate:.0f} % missing', *shown, 'max lr', 'epochs', 's a run'], body))
    if trials:
        parts += ['### Trials on the validation split', trial_table(study, trials)]
    return '\n\n'.join(parts)


def details(study: Study, group: dict[int, dict]) -> list[str]:
    """Further measures of a row, and what it cost."""
    spec = next(iter(group.values()))['spec']
    seconds = round(mean(cell['seconds'] for cell in group.values()), 1)
    shown = [plus_minus(report.values(group, key), digits) for key, digits in study.shown.items()]
    return [*shown, f'{spec["lr"]:g}', str(spec['epochs']), f'{seconds:.0f}']


def trial_table(study: Study, trials: list[dict]) -> str:
    """The measure of each trial: rows are losses, columns are regimes, lengths and learning rates."""
    columns, criteria = {}, defaultdict(dict)
    for trial in trials:
        spec = trial['spec']
        column = list(study.regimes).index(spec['regime']), spec['missing'], spec['epochs'], spec['lr']
        missing = f', {100 * spec["missing"]:.0f} % missing' if spec['missing'] else ''
        columns[column] = f'{spec["regime"]}, {spec["epochs"]} epochs{missing}, lr {spec["lr"]:g}'
        label = study.losses[spec['loss']]
        if spec['loss'] not in study.plain:
            own = [f'{study.own[key]}={value:g}' for key, value in spec['criterion'].items() if key in study.own]
            label += f': {", ".join(own)}'
        criteria[list(study.losses).index(spec['loss']), label][column] = trial
    order = sorted(columns)
    body = [
        [label] + [f'{found[c]["result"][study.measure]:.1f}' if c in found else '' for c in order]
        for (_, label), found in sorted(criteria.items())
    ]
    return table([f'validation {study.measure}, %'] + [columns[column] for column in order], body)


def draw(study: Study, rows: dict[tuple, dict[int, dict]]):
    """Bars of the measure with their standard deviations, one panel a regime."""
    regimes = [regime for regime in study.regimes if any(regime == key[0] for key in rows)]
    rates = {regime: sorted({key[1] for key in rows if key[0] == regime}) for regime in regimes}
    counts = [len(shares) for shares in rates.values()]
    figure, panels = pyplot().subplots(
        1, len(regimes), figsize=(1 + 2.6 * sum(counts), 3.6), sharey=True, squeeze=False, width_ratios=counts
    )
    losses = [loss for loss in study.losses if any(loss == key[2] for key in rows)]
    for panel, regime in zip(panels[0], regimes, strict=True):
        here = [loss for loss in losses if any(key[::2] == (regime, loss) for key in rows)]
        width = 0.84 / len(here)
        for number, loss in enumerate(here):
            found = {key[1]: report.values(rows[key], study.measure) for key in rows if key[::2] == (regime, loss)}
            x = [rates[regime].index(share) + (number - (len(here) - 1) / 2) * width for share in found]
            error = [value['std'] or 0 for value in found.values()]
            heights = [value['mean'] for value in found.values()]
            colour = f'C{losses.index(loss)}'
            panel.bar(x, heights, 0.9 * width, yerr=error, capsize=2, color=colour, label=study.losses[loss])
        panel.set_xticks(range(len(rates[regime])), [f'{100 * share:.0f} %' for share in rates[regime]])
        panel.set_title(study.regimes[regime], fontsize=10)
        panel.set_xlabel(f'{study.item} of the training scenes missing')
        panel.grid(axis='y', alpha=0.3)
    panels[0][0].set_ylabel(f'{study.measure} on test scenes, %')
    legend = {text: bar for panel in panels[0] for bar, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc='outside upper center', ncols=3, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.86))
    return figure


def write_report(study: Study, args: argparse.Namespace) -> None:
    """Gather the cells, write the tables into the page, and draw the figure.

    Raises:
        ValueError: If there is no cell of the grid.
    """
    cells = gather(args.cells, args.results)
    trials = [cell for cell in cells if cell['spec']['split'] == 'val']
    rows = by_row(study, [cell for cell in cells if cell['spec']['split'] == 'test'])
    if not rows:
        raise ValueError(f'expected finished cells in {args.cells} or {args.results}, found none: run the grid first')
    text = markdown(study, rows, trials)
    report.write_page(args.page, dict(ladder=text), f'tools/studies/{study.name}_ladder.py report')
    report.write_figure(draw(study, rows), args.images, study.name, args.page)
    print(text)


def main(study: Study, description: str, argv=None) -> int:
    """The command of a study."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = dict(tune=tuning, refine=refining, grid=grid) if study.refined else dict(tune=tuning, grid=grid)
    parser.add_argument('stage', nargs='+', choices=[*stages, 'report'])
    parser.add_argument('--regime', nargs='+', choices=study.regimes, default=list(study.regimes))
    parser.add_argument('--losses', nargs='+', choices=study.losses, default=list(study.losses))
    parser.add_argument('--missing', nargs='+', type=float, help=f'shares of missing {study.item}')
    parser.add_argument('--seeds', type=int, default=5, help='number of seeds')
    parser.add_argument('--rates', nargs='+', type=float, default=study.rates, help='learning rates to try')
    parser.add_argument('--epochs', type=int, help="tune: length to try (default: the config's)")
    parser.add_argument('--criterion', nargs='+', action=CfgOptions, default={}, help='tune: alpha=0.6 or the like')
    parser.add_argument(
        '--data-root', nargs='+', action=CfgOptions, default={}, metavar='REGIME=FOLDER', help='where the data are'
    )
    parser.add_argument('--workers', type=int, default=2, help='single-thread processes at a time')
    report.add_paths(parser, study.name, study.folder / 'README.md')
    args = parser.parse_args(argv)
    failures = 0
    for stage in args.stage:
        if stage == 'report':
            write_report(study, args)
        else:
            failures += run(study, stages[stage](study, args), args)
    return 1 if failures else 0
