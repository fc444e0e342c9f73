"""Choose a loss for your own features by cross-validation, and measure what it gains.

Every loss gets the same number of trials (its parameters and the learning rate). A fold is measured with the trial that
was best on the other folds, so a loss does not gain from the choice of its best trial. A stopped command continues
where it was stopped. The data are a .npz with train_x, train_y, test_x, test_y (labels 1, 0, and -1 for unknown), or a
folder of tools/misc/extract_features.py. The test split is used only with --test, at the end.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from feature_training import fixed, measure, train
from grid import finished, keep_cell
from tqdm import tqdm

from mmasl.analysis.report import plus_minus, pyplot, save_figure, spread, table
from mmasl.cli.flags import Parser
from mmasl.datasets.features import read_features
from mmasl.engine.hooks.probability_gap_hook import LEARNED_BY_HEART
from mmasl.errors import UserError, command, positive
from mmasl.files import write_json

BASELINE = 'cross-entropy'
RATES = (3e-4, 1e-3, 3e-3)


def adaptive(target: float) -> dict:
    return dict(type='mmasl.AdaptiveAsymmetricLoss', delta_p_target=target)


def trials(*losses: dict, rates=RATES) -> list[tuple[dict, float]]:
    return [(loss, lr) for loss in losses for lr in rates]


# Each loss has six trials. Cross-entropy has no parameter and tries six learning rates.
LADDER = {
    BASELINE: trials(fixed(0.0, 0.0, 0.0), rates=(1e-4, 3e-4, 6e-4, 1e-3, 3e-3, 1e-2)),
    'focal loss': trials(fixed(1.0, 1.0, 0.0), fixed(2.0, 2.0, 0.0)),
    'asymmetric focusing': trials(fixed(0.0, 2.0, 0.0), fixed(0.0, 4.0, 0.0)),
    'margin': trials(fixed(0.0, 0.0, 0.05), fixed(2.0, 2.0, 0.3)),
    'ASL': trials(fixed(0.0, 2.0, 0.2), fixed(0.0, 4.0, 0.05)),
    'adaptive ASL': trials(adaptive(0.0), adaptive(0.1)),
}
OTHERS = [name for name in LADDER if name != BASELINE]


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('data', help='.npz file or folder with features')
    parser.add_argument('--losses', nargs='+', choices=OTHERS, default=OTHERS, help='losses beside cross-entropy')
    parser.add_argument('--trials', type=int, choices=(3, 6), default=6, help='trials of each loss (default: 6)')
    parser.add_argument('--folds', type=int, default=5, help='number of folds, at least 3')
    parser.add_argument('--epochs', type=positive, default=20, help='length of a training')
    parser.add_argument(
        '--hidden',
        type=positive,
        nargs='*',
        default=[512],
        help='hidden layers; none for a linear classifier',
    )
    parser.add_argument(
        '--dropout', type=float, default=0.5, help='after hidden layers, or on the inputs of a linear classifier'
    )
    parser.add_argument('--test', action='store_true', help='measure baseline and choice on the test split')
    parser.add_argument('--out', default='work_dirs/choose_loss', metavar='DIR', help='folder for the results')
    return parser.parse_args(argv)


def run_trials(x: torch.Tensor, y: torch.Tensor, args, folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the mAP of every loss, and for the baseline the p of training positives minus that of held-out ones.

    Each has the shape ``(trials, folds)``. Finished folds are read from ``folder``.
    """
    fold_of = torch.from_numpy(np.random.default_rng(0).permutation(len(x)) % args.folds)
    empty = [fold for fold in range(args.folds) if not (y[fold_of == fold] == 1).any()]
    if empty:
        raise UserError(f'--folds: expected a positive label in each, {empty} of {args.folds} have none; take fewer')
    digest = hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()[:12]
    ladder = {name: chosen_trials(name, args) for name in (BASELINE, *args.losses)}
    runs = [run for trials in ladder.values() for run in trials]
    # A trial is not finished if its data have changed since. The digest shows this.
    common = dict(training(args), folds=args.folds, runs=runs, data=args.data, digest=digest)
    cells = {f'fold{fold}': dict(common, seed=fold) for fold in range(args.folds)}
    done = finished(cells, folder)

    def run(spec):
        inside, outside = fold_of != spec['seed'], fold_of == spec['seed']
        model, _ = train(x[inside], y[inside], runs, spec)
        found = [measure(score, y[outside]) for score in model.scores(x[outside])]
        learned = [measure(score, y[inside]) for score in model.scores(x[inside])[: args.trials]]
        certain = [one['pt_pos'] - other['pt_pos'] for one, other in zip(learned, found, strict=False)]
        return dict(mAP=[one['mAP'] for one in found], excess=certain)

    values = np.zeros((len(runs), args.folds))
    excess = np.zeros((args.trials, args.folds))
    for name, spec in tqdm(cells.items(), unit='fold', disable=None):
        kept, fold = done.get(name) or keep_cell(run, folder, name, spec), spec['seed']
        values[:, fold], excess[:, fold] = kept['result']['mAP'], kept['result']['excess']
    return dict(zip(ladder, values.reshape(len(ladder), args.trials, args.folds), strict=True)), excess


def training(args) -> dict:
    """Return the settings of the training, which are the same for all losses."""
    return dict(
        hidden=args.hidden, dropout=args.dropout, epochs=args.epochs, batch_size=64, weight_decay=1e-2, ema=None
    )


def chosen_trials(name: str, args) -> list[tuple[dict, float]]:
    return LADDER[name][:: 6 // args.trials]


def select(results: np.ndarray) -> tuple[np.ndarray, int]:
    """Return for each fold the value of the trial that is best on the other folds, and the best trial of all folds."""
    trials, folds = results.shape
    others = [[f for f in range(folds) if f != fold] for fold in range(folds)]
    chosen = [int(results[:, other].mean(1).argmax()) for other in others]
    return results[chosen, range(folds)], int(results.mean(1).argmax())


def judge(values: dict[str, np.ndarray]) -> tuple[str, str]:
    """Return the chosen loss and the reason. It must be ahead by twice the standard error over the folds."""
    gains = {name: value - values[BASELINE] for name, value in values.items() if name != BASELINE}
    best = max(gains, key=lambda name: gains[name].mean())
    gain = gains[best]
    worth = f'{best} is worth {plus_minus(spread(gain.tolist()), sign=True)} mAP against {BASELINE}'
    worth += f', ahead on {(gain > 0).sum()} of {len(gain)} folds'
    if gain.mean() > 2 * gain.std(ddof=1) / len(gain) ** 0.5:
        return best, f'take {best}: {worth}'
    if all(g.mean() < -2 * g.std(ddof=1) / len(g) ** 0.5 for g in gains.values()):
        return BASELINE, f'take {BASELINE}: {worth}, and that is the best of the others'
    return BASELINE, f'no loss is ahead by more than the folds differ, take {BASELINE}: {worth}'


def read_report(folder: Path) -> dict:
    """Return the report that a run has written into its folder."""
    return json.loads((folder / 'choose_loss.json').read_text())


def describe(loss: dict) -> str:
    return ', '.join(f'{name}={value:g}' for name, value in loss.items() if name != 'type')


def draw(path: Path, values: dict[str, np.ndarray]) -> None:
    figure, axes = pyplot().subplots(figsize=(6, 0.5 * len(values) + 1.2), layout='constrained')
    for row, value in enumerate(reversed(values.values())):
        gain = value - values[BASELINE]
        axes.plot(gain, np.full(len(gain), row), 'o', color='0.6', ms=5, label='a fold' if row == 0 else None)
        axes.plot(gain.mean(), row, 'D', color='C0', ms=7, label='mean' if row == 0 else None)
    axes.axvline(0, color='k', lw=0.8, ls=':')
    axes.set_yticks(range(len(values)), reversed(values))
    axes.set(xlabel=f'mAP beyond {BASELINE}', ylim=(-0.6, len(values) - 0.4))
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def check_args(args) -> None:
    if not 3 <= args.folds <= 100:
        raise UserError(f'--folds must lie in 3 ... 100, got {args.folds}')
    if not 0 <= args.dropout < 1:
        raise UserError(f'--dropout must lie in [0, 1), got {args.dropout}')


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    check_args(args)
    try:
        arrays = read_features(args.data)
    except ValueError as error:
        raise UserError(str(error)) from error
    # Folds replace the validation split.
    x, y = (torch.from_numpy(np.concatenate([arrays[f'train_{n}'], arrays[f'val_{n}']])) for n in 'xy')
    out = Path(args.out)
    results, excess = run_trials(x, y, args, out / 'trials')
    selected = {name: select(result) for name, result in results.items()}
    values = {name: value for name, (value, _) in selected.items()}
    choice, verdict = judge(values)
    settings = {name: chosen_trials(name, args)[trial] for name, (_, trial) in selected.items()}
    head = ['loss', 'mAP', f'beyond {BASELINE}', 'best setting']
    if args.test:
        head.append('test mAP')
    rows, report = [], {}
    for name, value in values.items():
        loss, lr = settings[name]
        report[name] = dict(folds=value.tolist(), **spread(value.tolist()), setting=dict(loss, lr=lr))
        gain = '' if name == BASELINE else plus_minus(spread((value - values[BASELINE]).tolist()), sign=True)
        rows.append([name, plus_minus(spread(value.tolist())), gain, describe(loss)])
        rows[-1][-1] += f', lr={lr:g}'
        if args.test and name in (BASELINE, choice):
            model, _ = train(x, y, [settings[name]], dict(training(args), seed=0))
            test_x, test_y = (torch.from_numpy(arrays[f'test_{n}']) for n in 'xy')
            report[name]['test'] = measure(model.scores(test_x)[0], test_y)['mAP']
            rows[-1].append(f'{report[name]["test"]:.1f}')
        elif args.test:
            rows[-1].append('')
    excess = float(excess[selected[BASELINE][1]].mean())
    summary = dict(verdict=verdict, choice=choice, pt_pos_excess=excess, losses=report, arguments=vars(args))
    write_json(out / 'choose_loss.json', summary)
    draw(out / 'choose_loss', values)
    print(table(head, rows))
    memorises = excess > LEARNED_BY_HEART
    print(
        f'{BASELINE}: p of training positives is above that of held-out ones by {excess:.2f}: it memorises '
        f'{"its labels" if memorises else "little"}; on photographs, asymmetric losses were then '
        f'{"mostly ahead" if not args.hidden else "mostly behind" if memorises else "rarely ahead"} '
        f'under {"hidden layers" if args.hidden else "a linear layer"}'
    )
    edges = [name for name, (_, lr) in settings.items() if lr == max(rate for _, rate in chosen_trials(name, args))]
    if edges:
        print(f'note: the best learning rate of {", ".join(edges)} is the highest tried; more --epochs may matter more')
    print(f'{verdict} ({args.folds} folds, {args.trials} trials a loss; {out / "choose_loss.json"})')


if __name__ == '__main__':
    sys.exit(main())
