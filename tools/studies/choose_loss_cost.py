"""The cost of a choice by choose_loss.py against the best loss of its ladder, on the test splits of ten data sets.

    python tools/studies/choose_loss_cost.py --features data/features

scikit-learn generates seven data sets or ships their data. Three are test images of the features of photographs
(``voc`` and ``coco`` in the folder, made by photo_features.sh), which features.py measures on too. Each loss of the
ladder is trained ``--seeds`` times with the trial that cross-validation has chosen, and measured on the test split.
"""

import argparse
import sys
from pathlib import Path

import choose_loss
import numpy as np
import torch
from feature_training import drop_positives, measure, train
from sklearn.datasets import load_breast_cancer, load_digits, make_multilabel_classification

from mmasl.analysis.report import plus_minus, spread, table
from mmasl.datasets.features import read_features
from mmasl.errors import UserError, command, positive
from mmasl.files import write_json

LOOPS, STRAIGHT = (0, 4, 6, 8, 9), (1, 4, 7)


def split(x, y, train_size: int, missing: float = 0.0) -> dict[str, np.ndarray]:
    """Split the rows into training and test. A share ``missing`` of the training positives is dropped."""
    kept = y.sum(0) > 0
    y = torch.as_tensor(np.asarray(y)[:, kept], dtype=torch.float32)
    train_y = drop_positives(y[:train_size], missing, seed=0)
    x = np.asarray(x, np.float32)
    return dict(train_x=x[:train_size], train_y=train_y.numpy(), test_x=x[train_size:], test_y=y[train_size:].numpy())


def heaps(missing: float = 0.0) -> dict:
    """Return pictures of three handwritten digits on top of each other. Each digit is a label."""
    digits, rng = load_digits(), np.random.default_rng(0)
    rows = rng.integers(len(digits.target), size=(3000, 3))
    x, y = digits.data[rows].max(1), np.zeros((3000, 10))
    y[np.arange(3000)[:, None], digits.target[rows]] = 1
    return split(x, y, 1500, missing)


def attributes() -> dict:
    """Return handwritten digits with their properties (even, prime, with a loop, straight, ...) and pairs of these."""
    digits, n = load_digits(), np.arange(10)
    single = np.stack([n % 2 == 0, np.isin(n, (2, 3, 5, 7)), np.isin(n, LOOPS), np.isin(n, STRAIGHT), n > 6, n < 2])
    both = [single[i] & single[j] for i in range(6) for j in range(i)]
    facts = np.concatenate([single, both]).T.astype(float)
    return split(digits.data, facts[digits.target], 900)


def bags(classes: int, labels: int, features: int, seed: int) -> dict:
    x, y = make_multilabel_classification(
        n_samples=3000, n_features=features, n_classes=classes, n_labels=labels, length=60, random_state=seed
    )
    return split(np.log1p(x), y, 1500)


def tops() -> dict:
    """Return 15 measurements of a tumour. The labels are which of 15 others are among the highest tenth."""
    data = load_breast_cancer().data[np.random.default_rng(0).permutation(569)]
    y = data[:, 15:] > np.quantile(data[:, 15:], 0.9, axis=0)
    return split(np.log1p(data[:, :15]), y.astype(float), 350)


def teacher() -> dict:
    """Return fifty rare labels of a random network with noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 40))
    z = np.tanh(x @ rng.normal(size=(40, 60)) / 6) @ rng.normal(size=(60, 50)) + rng.normal(size=(4000, 50))
    return split(x, (z > np.quantile(z, 0.975, axis=0)).astype(float), 2000)


def photographs(folder: Path, name: str, missing: float = 0.0, rare: bool = False) -> dict:
    """Return test photographs, half of them for training. Unknown labels stay unknown."""
    arrays = read_features(folder / name)
    x, y = arrays['test_x'], arrays['test_y']
    if rare:
        y = y[:, np.argsort((y == 1).sum(0))[:40]]
    return split(x, y, len(x) // 2, missing)


def data_sets(folder: Path | None) -> dict[str, tuple[dict, list[int]]]:
    """Return the data and the hidden layers by name."""
    small = {
        'heaps of digits': heaps(),
        'heaps of digits, 40 % missing': heaps(0.4),
        'attributes of digits': attributes(),
        'bags of words, 20 classes': bags(20, 3, 60, 0),
        'bags of words, 60 classes': bags(60, 2, 100, 1),
        'highest tenths': tops(),
        'teacher, 2.5 % positive': teacher(),
    }
    found = {name: (data, [128]) for name, data in small.items()}
    if folder is not None:
        found['VOC val'] = photographs(folder, 'voc'), []
        found['VOC val, 40 % missing'] = photographs(folder, 'voc', 0.4), []
        found['MS-COCO val, the rare half of the classes'] = photographs(folder, 'coco', rare=True), []
    return found


def cost(name: str, data: dict, hidden: list[int], out: Path, seeds: int) -> dict:
    """Cross-validate, train each loss with its chosen trial, and compare them on the test split."""
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / 'data.npz', **data)
    options = [str(out / 'data.npz'), '--trials', '3', '--out', str(out), '--hidden', *map(str, hidden)]
    if choose_loss.main(options):
        raise UserError(f'{name}: choose_loss.py failed')
    args = choose_loss.parse_args(options)
    report = choose_loss.read_report(out)
    runs = [
        ({k: v for k, v in loss['setting'].items() if k != 'lr'}, loss['setting']['lr'])
        for loss in report['losses'].values()
    ]
    arrays = read_features(out / 'data.npz')
    x, y = (torch.from_numpy(np.concatenate([arrays[f'{part}_{n}'] for part in ('train', 'val')])) for n in 'xy')
    test_x, test_y = (torch.from_numpy(arrays[f'test_{n}']) for n in 'xy')
    values = {loss: [] for loss in report['losses']}
    for seed in range(seeds):
        model, _ = train(x, y, runs, dict(choose_loss.training(args), seed=seed))
        for loss, scores in zip(values, model.scores(test_x), strict=True):
            values[loss].append(measure(scores, test_y)['mAP'])
    means = {loss: float(np.mean(value)) for loss, value in values.items()}
    best = max(means, key=means.get)
    return dict(data=name, choice=report['choice'], best=best, cost=means[best] - means[report['choice']], test=values)


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--features', type=Path, help='folder with voc and coco; without it, seven data sets')
    parser.add_argument('--seeds', type=positive, default=3)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/choose_loss_cost'))
    args = parser.parse_args(argv)
    results = []
    for name, (data, hidden) in data_sets(args.features).items():
        folder = args.out / ''.join(c if c.isalnum() else '_' for c in name)
        results.append(cost(name, data, hidden, folder, args.seeds))
        write_json(args.out / 'choose_loss_cost.json', results)
        print(results[-1], flush=True)
    rows = [
        [r['data'], r['choice'], *(plus_minus(spread(r['test'][k])) for k in (r['choice'], r['best'])), r['best']]
        + [f'{r["cost"]:.2f}']
        for r in results
    ]
    print(table(['data', 'choice', 'its test mAP', 'the best', 'which', 'cost'], rows))


if __name__ == '__main__':
    sys.exit(main())
