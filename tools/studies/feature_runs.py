"""The runs in the cells of ``features.py``, by their regime: which are compared, and which rate of a loss counts."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

NAMES = dict(voc='VOC', coco='COCO')


def regime(spec: dict) -> tuple:
    """Return the key of the regime in which runs are compared: the spec without losses, rates, seed and split."""
    keys = (
        'data',
        'missing',
        'hidden',
        'dropout',
        'images',
        'epochs',
        'steps',
        'batch_size',
        'weight_decay',
        'ema',
        'views',
        'classes',
    )
    return tuple(str(spec.get(key)) for key in keys)


def collect(cells: list[dict]) -> dict:
    """Return runs[regime][split][loss][rate][seed]. Of equal runs, that of the stage tune counts; it has a course."""
    runs = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(dict))))
    for cell in sorted(cells, key=lambda cell: 'courses' in cell['spec']):
        spec = cell['spec']
        for run in cell['result']['runs']:
            runs[regime(spec)][spec['split']][run['loss']][run['lr']][spec['seed']] = run
    return runs


def validated(by_rate: dict[float, dict[int, dict]], measure: str = 'mAP') -> dict[float, float]:
    """Return the mAP of each rate on the validation split, for the same seeds.

    ``mAP`` has all labels of that split. ``mAP_seen`` lacks as many as the training images, and is noisier.
    """
    seeds = set.intersection(*(set(runs) for runs in by_rate.values()))
    return {rate: mean(runs[seed][measure] for seed in seeds) for rate, runs in by_rate.items()}


def best_rate(by_rate: dict[float, dict[int, dict]], rates: Iterable[float], measure: str = 'mAP') -> float:
    """Return the one of ``rates`` that is best on the validation split; see :func:`validated`."""
    return max(rates, key=validated(by_rate, measure).get)


def tuned(splits: dict) -> dict[str, dict[int, dict]]:
    """Return for each loss its test runs by seed, at the rate that is best on the validation split if this was run."""
    chosen = {}
    for loss, by_rate in splits['test'].items():
        rates = [rate for rate in splits['val'].get(loss, {}) if rate in by_rate]
        chosen[loss] = by_rate[best_rate(splits['val'][loss], rates) if rates else next(iter(by_rate))]
    return chosen


def values(runs: dict[int, dict], *path: str) -> list[float]:
    found = []
    for run in runs.values():
        for key in path:
            run = run[key]
        found.append(run)
    return found


def difference(runs: dict, other: dict) -> list[float]:
    return [runs[seed]['mAP'] - other[seed]['mAP'] for seed in runs if seed in other]


def linear(key: tuple) -> bool:
    """Return whether the classifier of a regime is a linear layer."""
    return key[2] == '[]'


def describe(key: tuple) -> str:
    data, missing, hidden, dropout, images, epochs, steps, _, decay, ema, views, classes = key
    words = [
        NAMES[data],
        f'{100 * float(missing):g} %',
        'linear' if linear(key) else f'hidden {hidden[1:-1]}',
        f'dropout {dropout}',
    ]
    words += [f'{images} images'] if images != 'None' else []
    words += [f'{epochs} epochs'] if epochs not in ('12', '20') else []
    words += [f'decay {decay}'] if decay != '0.01' else []
    words += [f'EMA {ema}'] if ema != 'None' else []
    words += ['flips'] if views != '1' else []
    return ', '.join(words + ([f'{classes} classes'] if classes != 'None' else []))
