"""Losses on frozen features of photographs. A cell trains small classifiers with many losses side by side.

    python tools/studies/features.py tune     # tries learning rates on validation splits
    python tools/studies/features.py map      # compares the losses in regimes that memorise more or less
    python tools/studies/features.py paper    # repeats Fig. 4 to 7 and Table 3 on MS-COCO
    python tools/studies/features.py design   # compares the settings of adaptive asymmetry
    python tools/studies/features.py report   # writes tables and the map from the finished cells

``--features`` is a folder with the folders voc and coco, which ``photo_features.sh`` makes. Each finished cell is kept
as a JSON file, so a stopped command continues where it was stopped.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import report
import torch
from experiment import ROOT
from feature_runs import best_rate, collect, regime
from feature_training import drop_positives, fixed, measure, train
from features_report import write_report
from grid import check_failures, gather, read_cells, run_grid

from mmasl.datasets.features import read_features
from mmasl.errors import UserError, command, positive

SHOWN = ('mAP', 'CF1', 'OF1', 'delta_p', 'pt_pos', 'pt_neg')
DEFAULTS = dict(
    split='test', images=None, missing=0.0, views=1, hidden=[], dropout=0.2, weight_decay=1e-2, batch_size=64, ema=None
)
EPOCHS = dict(coco=12, voc=20)
RATES = dict(linear=[1e-3, 3e-3, 1e-2], hidden=[3e-4, 1e-3, 3e-3])  # tried for every loss
HIDDEN = dict(hidden=[512], dropout=0.0)
MISSING = (0.0, 0.4)


def adaptive(target: float = 0.1, start: float = 2.0, clip: float = 0.05, relative_step: float = 40, **more) -> dict:
    constants = dict(gamma_pos=0.0, gamma_neg=start, clip=clip, delta_p_target=target, relative_step=relative_step)
    return dict(type='mmasl.AdaptiveAsymmetricLoss', **constants, **more)


def course(start: float, end: float) -> dict:
    return dict(fixed(0.0, start, 0.05), course=[start, end])


LOSSES = {
    'CE': fixed(0.0, 0.0, 0.0),
    'focal': fixed(2.0, 2.0, 0.0),
    'AF': fixed(0.0, 3.0, 0.0),
    'margin': fixed(2.0, 2.0, 0.3),
    'ASL 4/.05': fixed(0.0, 4.0, 0.05),
    'ASL 2/.2': fixed(0.0, 2.0, 0.2),
    'CE, m=.05': fixed(0.0, 0.0, 0.05),
    'ASL 1/.05': fixed(0.0, 1.0, 0.05),
    'adaptive': adaptive(),
    'adaptive from 0': adaptive(start=0.0),
    'adaptive from 1': adaptive(start=1.0),
    'adaptive from 1 to 0': adaptive(0.0, 1.0),
}


def some(*names: str) -> dict[str, dict]:
    return {name: LOSSES[name] for name in names}


REGIMES = {  # in these, models memorise more or less
    'voc': [
        dict(),
        HIDDEN,
        dict(hidden=[512], dropout=0.5),
        dict(hidden=[512], dropout=0.8),
        dict(dropout=0.5),
        dict(dropout=0.8),
        dict(HIDDEN, images=500),
        dict(images=500),
        dict(HIDDEN, epochs=5),
        dict(HIDDEN, ema=0.99),
        dict(HIDDEN, weight_decay=1.0),
        dict(hidden=[512], dropout=0.5, views=2),
        dict(hidden=[1024], dropout=0.5),
        dict(hidden=[512, 512], dropout=0.5),
    ],
    'coco': [
        dict(),
        HIDDEN,
        dict(hidden=[512], dropout=0.5),
        dict(hidden=[512], dropout=0.8),
        dict(dropout=0.5),
        dict(images=500),
        dict(HIDDEN, images=1000),
        dict(HIDDEN, epochs=3),
        dict(classes='rarest 40'),
        dict(classes='rarest 40', hidden=[512], dropout=0.5),
        dict(classes='commonest 20'),
    ],
}
STEPS = {f'λ={k}/steps': adaptive(start=1.0, relative_step=k) for k in (4, 13, 40, 130, 400)}
for size in (0.1, 0.01):
    STEPS[f'λ={size}'] = dict(adaptive(start=1.0), step_size=size)
    del STEPS[f'λ={size}']['relative_step']
CHANGES = {
    **{f'target {target:g}': adaptive(target) for target in (-0.2, -0.1, 0.0, 0.2, 0.3)},
    'adaptive': adaptive(),
    **{f'γ₋ from {start}': adaptive(start=float(start)) for start in (0, 1, 4)},
    **{f'λ={size}/steps': adaptive(relative_step=size) for size in (10, 160)},
    **{f'momentum {momentum:g}': adaptive(momentum=momentum) for momentum in (0.0, 0.99)},
    'after a fifth of the steps': adaptive(warm_up=0.2),
    'γ₋ at most 4': adaptive(gamma_neg_bounds=[0.0, 4.0]),
    'margin instead of γ₋': adaptive(adapt='clip'),
    'margin and γ₋': adaptive(adapt='both'),
    'by medians': adaptive(statistic='median'),
    'by held-out images': adaptive(statistic='held-out'),
    'γ₋ 4 to 0, no feedback': course(4.0, 0.0),
    'γ₋ 2 to 0, no feedback': course(2.0, 0.0),
    'γ₋ 0 to 4, no feedback': course(0.0, 4.0),
}


def make_spec(data: str, losses: dict[str, dict], rates: list[float] | dict[str, float], seed: int, **changes) -> dict:
    """Return everything that a cell depends on. ``rates`` has those that all losses take, or the rate of each loss."""
    length = {} if 'steps' in changes else dict(epochs=EPOCHS.get(data, 20))
    return dict(DEFAULTS, data=data, losses=losses, rates=rates, seed=seed, **length) | changes


def tune(seeds: int) -> Iterator[dict]:
    """Yield cells that try the rates of all losses in each regime, on the validation split."""
    for seed, data, missing in product(range(seeds), REGIMES, MISSING):
        for changes in REGIMES[data]:
            rates = RATES['hidden' if 'hidden' in changes else 'linear']
            yield make_spec(data, LOSSES, rates, seed, split='val', missing=missing, courses=['CE'], **changes)


def regimes(seeds: int, runs: dict) -> Iterator[dict]:
    """Yield cells that train each loss with its best rate of ``tune`` and measure on the test split."""
    for seed, spec in product(range(seeds), tune(1)):
        found = runs.get(regime(spec), {}).get('val', {})
        if not found.keys() >= LOSSES.keys():
            raise UserError('expected the cells of the stage tune, found none for some regimes: run it first')
        best = {name: best_rate(found[name], spec['rates']) for name in LOSSES}
        yield {key: value for key, value in spec.items() if key != 'courses'} | dict(
            split='test', seed=seed, rates=best
        )


def paper_losses() -> dict[str, dict]:
    """Return the settings of Fig. 5 to 7 and Tables 2 and 3, by gamma_pos/gamma_neg/clip."""
    settings = [(g, g, 0) for g in (0, 1, 2, 3, 4, 6)]  # Fig. 5
    settings += product((0, 1, 2, 3, 4), (2, 4), (0,))  # Fig. 6
    settings += [(g, g, m) for g in (0, 2, 4) for m in (0.05, 0.1, 0.2, 0.3, 0.4)]  # Fig. 7
    settings += product((0,), (2, 3, 4), (0, 0.05, 0.2))  # Table 2
    losses = {'/'.join(f'{value:g}' for value in setting): fixed(*map(float, setting)) for setting in settings}
    return losses | {f'target {target:g}': adaptive(target, 1.0) for target in (0.0, 0.1, 0.2, 0.3)}  # Table 3


def paper(seeds: int) -> Iterator[dict]:
    for seed, rate in product(range(seeds), (1e-3, 3e-3)):
        yield make_spec('coco', paper_losses(), [rate], seed)


def design(seeds: int) -> Iterator[dict]:
    """Yield the cells that determined the defaults of adaptive asymmetry. They use validation splits alone."""
    for seed, data, missing in product(range(seeds), ('voc', 'coco'), (0.0, 0.2, 0.4)):
        losses = some('CE', 'ASL 2/.2') | CHANGES
        yield make_spec(data, losses, [1e-3, 3e-3], seed, split='val', missing=missing)
        yield make_spec(data, losses, [1e-3], seed, split='val', missing=missing, **HIDDEN)
    for seed, (steps, batch) in product(range(seeds), ((500, 64), (2000, 64), (2000, 16), (2000, 256), (8000, 64))):
        losses = STEPS | some('CE', 'ASL 2/.2', 'CE, m=.05')
        for data, missing, rate in (('voc', 0.4, 1e-3), ('coco', 0.0, 3e-3)):
            yield make_spec(data, losses, [rate], seed, split='val', missing=missing, steps=steps, batch_size=batch)


STAGES = dict(tune=tune, map=regimes, paper=paper, design=design)


@lru_cache(maxsize=4)
def arrays(folder: Path, data: str, split: str, views: int):
    """Return training features ``(views, N, D)``, their labels, and those of the split to measure on."""
    found = [read_features(folder / name) for name in (data, f'{data}_flip')[:views]]
    parts = ('train', 'val') if split == 'test' else ('train',)
    x = torch.stack([torch.from_numpy(np.concatenate([view[f'{part}_x'] for part in parts])) for view in found])
    y = torch.from_numpy(np.concatenate([found[0][f'{part}_y'] for part in parts]))
    return x, y, torch.from_numpy(found[0][f'{split}_x']), torch.from_numpy(found[0][f'{split}_y'])


def run_cell(folder: Path, spec: dict) -> dict:
    """Train on all training images, or on some chosen by the seed, and measure on held-out and on training images."""
    x, y, held_x, held_y = arrays(folder, spec['data'], spec['split'], spec['views'])
    if 'classes' in spec:
        end, number = spec['classes'].split()
        order = (y == 1).sum(0).argsort(descending=end == 'commonest')[: int(number)]
        y, held_y = y[:, order], held_y[:, order]
    if spec['images'] is not None:
        chosen = torch.from_numpy(np.random.default_rng(spec['seed']).permutation(len(y))[: spec['images']])
        x, y = x[:, chosen], y[chosen]
    y = drop_positives(y, spec['missing'], spec['seed'])
    losses, rates = spec['losses'], spec['rates']
    pairs = list(rates.items()) if isinstance(rates, dict) else [(name, rate) for rate, name in product(rates, losses)]
    runs = [(losses[name], rate) for name, rate in pairs]
    model, courses = train(x, y, runs, spec, (held_x, drop_positives(held_y, spec['missing'], spec['seed'])))
    steps = courses.pop('step')
    chosen = np.random.default_rng(0).permutation(len(y))[:2000]
    thirds = np.array_split(np.argsort(-(y == 1).sum(0).numpy(), kind='stable'), 3)
    held_scores, scores = model.scores(held_x), model.scores(x[0, chosen])
    results = []
    for index, (name, rate) in enumerate(pairs):
        held_out, learned = measure(held_scores[index], held_y), measure(scores[index], y[chosen])
        result = dict(loss=name, lr=rate, **{key: round(float(held_out[key]), 3) for key in SHOWN})
        result['groups'] = [round(float(np.nanmean(held_out['AP'][third])), 3) for third in thirds]
        result['train'] = {key: round(float(learned[key]), 3) for key in SHOWN}
        if spec['missing'] and spec['split'] == 'val':  # where no labels are complete, a user has this measure only
            seen = drop_positives(held_y, spec['missing'], spec['seed'])
            result['mAP_seen'] = round(measure(held_scores[index], seen)['mAP'], 3)
        course = {key: [round(value, 3) for value in values[index]] for key, values in courses.items()}
        result['gamma_neg'] = course['gamma_neg'][-1]
        if spec['seed'] == 0 and name in spec.get('courses', losses):  # one seed shows the shape
            result['course'] = course
        results.append(result)
    return dict(steps=steps, runs=results)


def cell_name(spec: dict) -> str:
    """Return a name that no other specification has."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    return f'{spec["data"]}_{spec["split"]}_missing{round(100 * spec["missing"]):02d}_seed{spec["seed"]}_{digest}'


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=[*STAGES, 'report'])
    parser.add_argument('--features', type=Path, default=Path('data/features'), help='has the folders voc and coco')
    parser.add_argument('--seeds', type=positive, default=5)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs', help='report: folder of choose.md')
    report.add_paths(parser, 'features', figures=False)
    args = parser.parse_args(argv)
    if args.stage == 'report':
        write_report(gather(args.cells, args.results), args.out)
        return
    measured = (collect(read_cells(args.cells, args.results)),) if args.stage == 'map' else ()
    cells = {cell_name(spec): spec for spec in STAGES[args.stage](args.seeds, *measured)}
    check_failures(run_grid(cells, args, partial(run_cell, args.features), describe), args)


def describe(result: dict) -> str:
    return f'best mAP {max(run["mAP"] for run in result["runs"]):.1f}'


if __name__ == '__main__':
    sys.exit(main())
