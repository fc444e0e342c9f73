"""Choose from validation predictions the least probability of a label, for all classes together or for each class.

`tools/test.py CONFIG CHECKPOINT --split val --dump val.pkl` writes the predictions. `tools/test.py --thr FILE` and
`tools/infer.py --thr FILE` read the thresholds that this command writes. It also draws precision-recall and reliability
curves.
"""

import sys
from pathlib import Path

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('dump', help='.pkl file with the predictions on the validation split')
    parser.add_argument(
        '--objective',
        choices=('CF1', 'OF1', 'precision'),
        default='OF1',
        help='measure to maximise; precision: find the lowest threshold with the precision of --floor',
    )
    parser.add_argument('--floor', type=float, default=0.9, help='least precision of --objective precision')
    parser.add_argument('--per-class', action='store_true', help='one threshold for each class')
    parser.add_argument('--out', default='thresholds.json', metavar='FILE', help='.json file for the thresholds')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import mmengine
import numpy as np
from mmengine.evaluator import Evaluator

from mmasl.analysis.report import pyplot, save_figure, table
from mmasl.evaluation import MultiLabelMetric, label_counts, precision_recall_f1
from mmasl.evaluation.thresholds import choose_thresholds
from mmasl.files import write_json

BINS = 10
ENOUGH = 10  # least number of positives of a class whose curve is drawn


def read_dump(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and targets ``(N, C)`` of a dump; the metric reads and checks them as it does in evaluation."""
    if not Path(path).is_file():
        raise UserError(f'{path} does not exist; tools/test.py CONFIG CHECKPOINT --split val --dump {path} writes it')
    try:
        metric = MultiLabelMetric()
        Evaluator(metric).process(mmengine.load(path))
        scores, targets = (np.stack(rows) for rows in zip(*metric.results, strict=True))
    except Exception as error:  # whatever is in the file
        raise UserError(f'{path} is not a dump of a multi-label classifier: {error}') from error
    return scores, targets


def measure(scores: np.ndarray, targets: np.ndarray, thr: np.ndarray) -> dict[str, float]:
    """Return CP, CR, CF1, OP, OR and OF1 in percent."""
    return {key: 100 * value for key, value in precision_recall_f1(label_counts(scores, targets, thr)).items()}


def measure_held_out(scores: np.ndarray, targets: np.ndarray, **how) -> dict[str, float]:
    """Return the same measures when each half of the samples gets the thresholds chosen on the other half."""
    order = np.random.default_rng(0).permutation(len(scores))
    halves = order[::2], order[1::2]
    counts = 0
    for chosen_on, used_on in (halves, halves[::-1]):
        thr = choose_thresholds(scores[chosen_on], targets[chosen_on], **how)
        counts = counts + label_counts(scores[used_on], targets[used_on], thr)
    return {key: 100 * value for key, value in precision_recall_f1(counts).items()}


def draw(path: Path, scores: np.ndarray, targets: np.ndarray, thr: np.ndarray) -> None:
    """Draw precision over recall, and frequency over probability: thin for each class, thick for all labels."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(9, 4.2), layout='constrained')
    columns = [(s[t >= 0], t[t >= 0] == 1, x) for s, t, x in zip(scores.T, targets.T, thr, strict=True)]
    columns = [column for column in columns if column[1].sum() >= ENOUGH][:200]
    valid = targets >= 0
    pooled = scores[valid], targets[valid] == 1, None
    for number, (score, hit, threshold) in enumerate([*columns, pooled]):
        last = number == len(columns)
        style = dict(color='C0', lw=2.5) if last else dict(color='0.55', lw=0.6, alpha=0.5)
        label = 'all labels' if last else 'one class' if number == 0 else None
        ranked = hit[np.argsort(-score, kind='stable')]
        recall, precision = np.cumsum(ranked) / ranked.sum(), np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        left.plot(recall, precision, label=label, **style)
        bins = np.minimum((score * BINS).astype(int), BINS - 1)
        size = np.bincount(bins, minlength=BINS)
        full = size >= ENOUGH
        mean, frequency = (
            np.bincount(bins, values, BINS)[full] / size[full] for values in (score.astype(float), hit.astype(float))
        )
        right.plot(mean, frequency, marker='o' if last else None, label=label, **style)
        if threshold is not None and (score >= threshold).any():
            above = score >= threshold
            point = hit[above].sum() / hit.sum(), hit[above].mean()
            left.plot(*point, '.', color='C3', ms=4, label='at the threshold' if number == 0 else None)
    right.plot([0, 1], [0, 1], color='k', lw=0.8, ls=':', label='calibrated')
    left.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel='mean predicted probability', ylabel='frequency of the label', xlim=(0, 1), ylim=(0, 1.02))
    for axes in (left, right):
        axes.legend(loc='best', frameon=False, fontsize=8)
    save_figure(figure, path)


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    if not 0 < args.floor <= 1:
        raise UserError(f'--floor must lie in (0, 1], got {args.floor}')
    if not args.out.endswith('.json'):
        raise UserError(f'--out {args.out}: the name must end in .json')
    scores, targets = read_dump(args.dump)
    how = dict(objective=args.objective, per_class=args.per_class, floor=args.floor)
    try:
        thr = choose_thresholds(scores, targets, **how)
        held_out = measure_held_out(scores, targets, **how)
    except ValueError as error:
        raise UserError(f'{args.dump}: {error}') from error
    results = {
        'thresholds of 0.5': measure(scores, targets, np.full(scores.shape[1], 0.5)),
        'chosen here': measure(scores, targets, thr),
        'chosen on one half, used on the other': held_out,
    }
    content = dict(thr=thr.tolist() if args.per_class else float(thr[0]), **how, dump=args.dump, samples=len(scores))
    if args.objective != 'precision':
        del content['floor']
    out = Path(args.out)
    write_json(out, content | dict(validation=results))
    draw(out.with_suffix(''), scores, targets, thr)
    keys = list(results['chosen here'])
    print(table(['%', *keys], [[name, *(f'{row[key]:.1f}' for key in keys)] for name, row in results.items()]))
    if args.objective == 'CF1' and args.per_class:
        print('warning: CF1 with --per-class may predict hard classes on every picture; compare OF1 in the table')
    what = f'{thr.min():.3f} to {thr.max():.3f}' if args.per_class else f'{thr[0]:.3f}'
    empty = int((~(targets == 1).any(0)).sum()) if args.per_class else 0
    rest = f'; {empty} classes without a positive take the threshold of all classes' if empty else ''
    print(f'done: {args.objective}, threshold {what}{rest}, in {out} and {out.with_suffix(".png")}')


if __name__ == '__main__':
    sys.exit(main())
