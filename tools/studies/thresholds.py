"""CF1 and OF1 on test scenes with thresholds that were chosen on few validation scenes, for each way to choose them.

Each seed trains a classifier with one hidden layer on frozen features of DigitScenes, and draws some of the 2,000
validation scenes to choose the thresholds. They are measured on the 4,000 test scenes.

    python tools/studies/thresholds.py    # gathers the cells and prints the tables; continues where it was stopped
"""

import argparse
import sys

import numpy as np
import report
import torch
from adaptive_steps import features
from grid import check_failures, finished, gather, run_grid

from mmasl.analysis.report import plus_minus, spread, table
from mmasl.errors import UserError, command, positive
from mmasl.evaluation import label_counts, precision_recall_f1
from mmasl.evaluation.thresholds import choose_thresholds
from mmasl.models.losses import AsymmetricLoss

LOSSES = {'cross-entropy': dict(gamma_neg=0.0, clip=0.0), 'ASL': dict(gamma_neg=4.0, clip=0.05)}
WAYS = [(objective, per_class) for per_class in (False, True) for objective in ('CF1', 'OF1')]


def train(loss: AsymmetricLoss, inputs: torch.Tensor, labels: torch.Tensor, epochs: int) -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(inputs.shape[1], 512), torch.nn.ReLU(), torch.nn.Dropout(0.2))
    model.append(torch.nn.Linear(512, labels.shape[1]))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = epochs * (len(inputs) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, cycle_momentum=False)
    order = torch.cat([torch.randperm(len(inputs))[: len(inputs) // 64 * 64] for _ in range(epochs)])
    for rows in order.view(-1, 64):
        optimizer.zero_grad()
        loss(model(inputs[rows]), labels[rows], avg_factor=64).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def probabilities(model: torch.nn.Module, split: str, scenes: int) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = features(split, scenes)
    return model(inputs).sigmoid().numpy(), labels.numpy()


def measure(scores: np.ndarray, labels: np.ndarray, thr: np.ndarray) -> dict[str, float]:
    values = precision_recall_f1(label_counts(scores, labels, thr))
    return {key: round(100 * values[key], 3) for key in ('CF1', 'OF1')}


def run_cell(spec: dict) -> dict[str, dict[str, float]]:
    """Train with one seed, and return CF1 and OF1 on test scenes for each way to choose thresholds."""
    torch.manual_seed(spec['seed'])
    train_scenes, *others = spec['scenes']
    model = train(AsymmetricLoss(**LOSSES[spec['loss']]), *features('train', train_scenes), spec['epochs'])
    val, test = (probabilities(model, *pair) for pair in zip(('val', 'test'), others, strict=True))
    drawn = np.random.default_rng(spec['seed']).permutation(len(val[0]))
    results = {'thresholds of 0.5': measure(*test, np.full(test[0].shape[1], 0.5))}
    for size in spec['sizes']:
        few = [array[drawn[:size]] for array in val]
        for objective, per_class in WAYS:
            way = f'{objective}, {"one for each class" if per_class else "one for all"}, {size} scenes'
            results[way] = measure(*test, choose_thresholds(*few, objective, per_class))
    return results


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', default=[100, 300, 1000, 2000])
    parser.add_argument('--seeds', type=positive, default=5)
    parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--scenes', type=int, nargs=3, default=[4000, 2000, 4000], help='of train, val and test')
    report.add_paths(parser, 'thresholds', figures=False)
    args = parser.parse_args(argv)
    if max(args.sizes) > args.scenes[1]:
        raise UserError(f'--sizes: expected at most {args.scenes[1]}, the scenes of the split, got {max(args.sizes)}')
    common = dict(sizes=args.sizes, epochs=args.epochs, scenes=args.scenes)
    cells = {
        f'{loss.lower()}_seed{seed}': dict(common, loss=loss, seed=seed)
        for loss in LOSSES
        for seed in range(args.seeds)
    }
    failures = run_grid(cells, args, run_cell, lambda result: f'{len(result)} ways')
    gather(args.cells, args.results)
    done = finished(cells, args.cells, args.results).values()
    for loss, group in report.by_seed(list(done), lambda spec: spec['loss']).items():
        found = [cell['result'] for cell in group.values()]
        rows = [
            [way, *(plus_minus(spread([result[way][key] for result in found])) for key in ('CF1', 'OF1'))]
            for way in found[0]
        ]
        print(table([f'{loss}, test, %', 'CF1', 'OF1'], rows), '\n')
    check_failures(failures, args)


if __name__ == '__main__':
    sys.exit(main())
