"""Losses on features of photographs: a cell trains small classifiers with many losses and rates side by side."""

from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from feature_training import drop_positives, measure, train

from mmasl.datasets.features import read_features

SHOWN = ('mAP', 'CF1', 'OF1', 'delta_p', 'pt_pos', 'pt_neg')
DEFAULTS = dict(
    split='test', images=None, missing=0.0, views=1, hidden=[], dropout=0.2, weight_decay=1e-2, batch_size=64, ema=None
)
EPOCHS = dict(coco=12, voc=20)


def fixed(gamma_pos: float, gamma_neg: float, clip: float) -> dict:
    return dict(type='mmasl.AsymmetricLoss', gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)


FIXED = dict(
    ce=fixed(0.0, 0.0, 0.0),
    fl=fixed(2.0, 2.0, 0.0),
    af=fixed(0.0, 3.0, 0.0),
    pm=fixed(2.0, 2.0, 0.3),
    asl=fixed(0.0, 4.0, 0.05),
    asl2=fixed(0.0, 2.0, 0.2),
)


def make_spec(data: str, losses: dict[str, dict], rates: list[float], seed: int, **changes) -> dict:
    """All that a cell depends on."""
    length = {} if 'steps' in changes else dict(epochs=EPOCHS.get(data, 20))
    return dict(DEFAULTS, data=data, losses=losses, rates=rates, seed=seed, **length) | changes


@lru_cache(maxsize=4)
def arrays(folder: Path, data: str, split: str, views: int):
    """Return training features ``(views, N, D)``, their labels, and those of the split to measure on."""
    found = [read_features(folder / name) for name in (data, f'{data}_flip')[:views]]
    parts = ('train', 'val') if split == 'test' else ('train',)
    x = torch.stack([torch.from_numpy(np.concatenate([view[f'{part}_x'] for part in parts])) for view in found])
    y = torch.from_numpy(np.concatenate([found[0][f'{part}_y'] for part in parts]))
    return x, y, torch.from_numpy(found[0][f'{split}_x']), torch.from_numpy(found[0][f'{split}_y'])


def run_cell(folder: Path, spec: dict) -> list[dict]:
    """Train, on all training images or a part by the seed, and measure on held-out and on training images."""
    x, y, held_x, held_y = arrays(folder, spec['data'], spec['split'], spec['views'])
    if spec['images'] is not None:
        rows = torch.from_numpy(np.random.default_rng(spec['seed']).permutation(len(y))[: spec['images']])
        x, y = x[:, rows], y[rows]
    y = drop_positives(y, spec['missing'], spec['seed'])
    runs = [(loss, rate) for rate, loss in product(spec['rates'], spec['losses'].values())]
    names = [dict(loss=name, lr=rate) for rate, name in product(spec['rates'], spec['losses'])]
    model, course = train(x, y, runs, spec)
    steps = course.pop('step')
    rows = np.random.default_rng(0).permutation(len(y))[:2000]
    thirds = np.array_split(np.argsort(-(y == 1).sum(0).numpy(), kind='stable'), 3)
    held_scores, scores = model.scores(held_x), model.scores(x[0, rows])
    results = []
    for index, name in enumerate(names):
        held_out, learned = measure(held_scores[index], held_y), measure(scores[index], y[rows])
        result = dict(name, **{key: round(float(held_out[key]), 3) for key in SHOWN})
        result['groups'] = [round(float(np.nanmean(held_out['AP'][third])), 3) for third in thirds]
        result['train'] = {key: round(float(learned[key]), 3) for key in SHOWN}
        if spec['missing'] and spec['split'] == 'val':  # what a user can see
            seen = drop_positives(held_y, spec['missing'], spec['seed'])
            result['mAP_seen'] = round(measure(held_scores[index], seen)['mAP'], 3)
        result['course'] = {key: [round(value, 3) for value in values[index]] for key, values in course.items()}
        results.append(result)
    return dict(steps=steps, runs=results)
