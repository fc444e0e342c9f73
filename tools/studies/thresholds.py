"""What thresholds that were chosen on few validation samples are worth on others, for each way to choose them.

A classifier with one hidden layer on frozen features of DigitScenes, a training for each seed; thresholds from so many
validation scenes of the 2,000, drawn anew for each seed; CF1 and OF1 on the 4,000 test scenes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from adaptive_steps import features
from tqdm import tqdm

from mmasl.analysis.report import plus_minus, spread, table
from mmasl.evaluation import label_counts, precision_recall_f1
from mmasl.evaluation.thresholds import choose_thresholds
from mmasl.files import write_json
from mmasl.models.losses import AsymmetricLoss

OUT = Path(__file__).parent / 'results/thresholds.json'
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


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sizes', type=int, nargs='+', default=[100, 300, 1000, 2000])
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--scenes', type=int, nargs=3, default=[4000, 2000, 4000], help='of train, val and test')
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args(argv)
    results: dict = {}
    for name, seed in tqdm([(name, seed) for name in LOSSES for seed in range(args.seeds)]):
        torch.manual_seed(seed)
        model = train(AsymmetricLoss(**LOSSES[name]), *features('train', args.scenes[0]), args.epochs)
        val, test = (probabilities(model, *pair) for pair in zip(('val', 'test'), args.scenes[1:], strict=True))
        drawn = np.random.default_rng(seed).permutation(len(val[0]))
        add(results, name, 'thresholds of 0.5', measure(*test, np.full(test[0].shape[1], 0.5)))
        for size in args.sizes:
            few = [array[drawn[:size]] for array in val]
            for objective, per_class in WAYS:
                way = f'{objective}, {"one for each class" if per_class else "one for all"}, {size} scenes'
                add(results, name, way, measure(*test, choose_thresholds(*few, objective, per_class)))
    write_json(args.out, results)
    for name, ways in results.items():
        rows = [[way, *(plus_minus(spread(values)) for values in found.values())] for way, found in ways.items()]
        print(table([f'{name}, test, %', 'CF1', 'OF1'], rows), '\n')
    return 0


def add(results: dict, name: str, way: str, values: dict[str, float]) -> None:
    found = results.setdefault(name, {}).setdefault(way, {key: [] for key in values})
    for key, value in values.items():
        found[key].append(value)


if __name__ == '__main__':
    sys.exit(main())
