"""The map of regimes: what losses are worth against cross-entropy, over how much it memorises."""

from itertools import product
from pathlib import Path
from statistics import mean

import report
from feature_runs import best_rate, describe, difference, linear, validated, values
from scipy.stats import spearmanr

from mmasl.analysis.report import plus_minus, pyplot, save_figure, spread, table


def mapped(regimes: dict, runs: dict) -> list[dict]:
    """Return a point for each regime: how much cross-entropy memorises, and the gains of other losses over it.

    ASL has the one of its two settings that is better on the validation split.
    """
    points = []
    for key, chosen in regimes.items():
        ce = chosen['CE']
        worth = {name: difference(chosen[name], ce) for name in chosen if name != 'CE'}
        trials = {name: runs[key]['val'][name] for name in ('ASL 4/.05', 'ASL 2/.2')}
        asl = max(trials, key=lambda name: max(validated(trials[name]).values()))
        certainty = mean(values(ce, 'train', 'pt_pos')) - mean(values(ce, 'pt_pos'))
        gap = mean(values(ce, 'train', 'mAP')) - mean(values(ce, 'mAP'))
        points.append(
            dict(key=key, name=describe(key), ce=spread(values(ce, 'mAP')), certainty=certainty, gap=gap)
            | dict(course=excesses(runs[key]['val']['CE']))
            | dict(train=mean(values(ce, 'train', 'mAP')), pt_pos=mean(values(ce, 'train', 'pt_pos')), setting=asl)
            | dict(asl=worth[asl], adaptive=worth['adaptive'], focal=worth['focal'], margin=worth['CE, m=.05'])
        )
    return points


def excesses(by_rate: dict[float, dict[int, dict]]) -> list[float]:
    """Return p of positives in training batches minus p of held-out positives, at ten or so steps of a training."""
    course = by_rate[best_rate(by_rate, by_rate)][0]['course']
    return [train - held for train, held in zip(course['pt_pos'], course['held_pt_pos'], strict=True)]


def correlation_table(points: list[dict]) -> str:
    """Return how well each measure ranks the regimes by what ASL and adaptive asymmetry are worth against CE.

    The regimes with 500 images are left out. Each gain has a column for all others, and one for either classifier.
    """
    points = [point for point in points if point['key'][4] != '500']
    kinds = {
        '': points,
        ', linear': [point for point in points if linear(point['key'])],
        ', hidden': [point for point in points if not linear(point['key'])],
    }
    losses = dict(asl='ASL', adaptive='adaptive')
    columns = [(loss, kind) for loss, kind in product(losses, kinds) if kinds[kind]]
    lines = [
        [name, *(rank_correlation(kinds[kind], name, loss) for loss, kind in columns)] for name in measures(points[0])
    ]
    return table(['measure, with cross-entropy', *(f'{losses[loss]} − CE{kind}' for loss, kind in columns)], lines)


def measures(point: dict) -> dict[str, float]:
    """Return what may tell how much a loss is worth in the regime of a point, by its name in the table."""
    found = {'p_t⁺ of training images − held out': point['certainty'], 'training mAP − test mAP': point['gap']}
    for share in (0.1, 0.2, 0.5, 1.0):
        name = f'p_t⁺ of training batches − held out, after {100 * share:g} % of the steps'
        found[name] = point['course'][round(share * (len(point['course']) - 1))]
    return found


def rank_correlation(points: list[dict], measure: str, loss: str) -> str:
    measured = [measures(point)[measure] for point in points]
    return f'{spearmanr(measured, [mean(point[loss]) for point in points]).statistic:+.2f}'


def fine_tuned(cells: list[dict]) -> list[dict]:
    """Return such points of the networks of ``ladder.py photos``, by their Δp, which is near the measure."""
    tested = [cell for cell in cells if cell['spec']['split'] == 'test']
    groups = report.by_seed(tested, lambda spec: (spec['regime'], spec['missing'], spec['loss']))
    points = []
    for regime, missing, loss in groups:
        if loss == 'ce':
            ce, asl, adaptive = (groups[regime, missing, name] for name in ('ce', 'asl', 'asl-ad'))
            seen, held_out = (report.values(ce, name)['mean'] for name in ('train_delta_p', 'delta_p'))
            gains = {name: report.difference(g, ce, 'mAP') for name, g in (('asl', asl), ('adaptive', adaptive))}
            points.append(dict(missing=missing, certainty=seen - held_out, **gains))
    return points


def map_table(points: list[dict]) -> str:
    head = [
        'regime',
        'CE',
        'its training mAP',
        'p_t⁺ of training',
        '− held out',
        'focal − CE',
        'ASL − CE (setting)',
        'm=.05 − CE',
        'adaptive − CE',
    ]
    lines = [
        [point['name'], plus_minus(point['ce']), f'{point["train"]:.1f}', f'{point["pt_pos"]:.2f}']
        + [f'{point["certainty"]:+.2f}']
        + [plus_minus(spread(point['focal']), sign=True)]
        + [f'{plus_minus(spread(point["asl"]), sign=True)} ({point["setting"].removeprefix("ASL ")})']
        + [plus_minus(spread(point[name]), sign=True) for name in ('margin', 'adaptive')]
        for point in sorted(points, key=lambda point: point['certainty'])
    ]
    return table(head, lines)


def draw_map(points: list[dict], networks: list[dict], path: Path) -> None:
    figure, axes = pyplot().subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout='constrained')
    for axis, (name, title) in zip(axes, (('asl', 'ASL'), ('adaptive', 'adaptive')), strict=True):
        for point in points:
            data, missing, _, _, images, *_ = point['key']
            color, alpha = ('C0' if missing == '0.0' else 'C3'), 0.3 if images == '500' else 0.8
            gain = spread(point[name])
            marker = dict(fmt='o' if data == 'voc' else 's', color=color, mec='k' if linear(point['key']) else color)
            axis.errorbar(point['certainty'], gain['mean'], gain['std'] or 0, elinewidth=0.8, alpha=alpha, **marker)
        for point in networks:
            look = dict(fmt='*', ms=11, color='C3' if point['missing'] else 'C0', mec='k', mew=0.6)
            gain = point[name]
            axis.errorbar(point['certainty'], gain['mean'], gain['std'] or 0, elinewidth=0.8, **look)
        axis.axhline(0, color='k', lw=0.8, ls=':')
        axis.set(title=f'{title} against cross-entropy', xlabel='p$_t^+$ of training images − of held-out ones (CE)')
    axes[0].set_ylabel('mAP beyond cross-entropy')
    for label, look in (
        ('VOC', dict(marker='o', color='gray')),
        ('MS-COCO', dict(marker='s', color='gray')),
        ('all labels', dict(marker='.', color='C0')),
        ('40 % missing', dict(marker='.', color='C3')),
        ('linear classifier', dict(marker='o', color='gray', mec='k')),
        ('500 images', dict(marker='o', color='gray', alpha=0.3)),
        ('fine-tuned', dict(marker='*', color='gray', mec='k', ms=11)),
    ):
        axes[0].plot([], [], ls='', label=label, **look)
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path, ('svg',))
